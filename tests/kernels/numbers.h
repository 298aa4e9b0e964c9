// Numbers to compute with, and how far ours are off.

#pragma once

#include "bfloat16.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

std::uint32_t state = 1;  // of the numbers drawn

std::vector<float> numbers(std::int64_t count) {
    std::vector<float> made(count);
    for (float& one : made) {
        state = state * 1664525u + 1013904223u;
        one = float(state >> 8) / float(1 << 23) - 1;
    }
    return made;
}

// As maps of a T.
template <class T>
std::vector<T> maps(const std::vector<float>& of) {
    std::vector<T> made(of.size());
    for (std::size_t i = 0; i < of.size(); i++) store_first(&made[i], Vec{} + of[i], 1);
    return made;
}

// Whether no number is off by more than `bound` of the largest exact one, or of `least` where that is larger.
bool within(const std::vector<float>& ours, const std::vector<double>& exact, double bound, double least) {
    double worst = 0, largest = least;
    for (std::size_t i = 0; i < exact.size(); i++) {
        worst = std::max(worst, std::abs(ours[i] - exact[i]));
        largest = std::max(largest, std::abs(exact[i]));
    }
    return worst <= bound * largest;
}

}  // namespace
