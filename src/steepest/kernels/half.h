// The numbers that a convolution's products are of: float, or half where the processor multiplies vectors of them
// (AVX512-FP16, NEON), two to a float's place.
//
// A product of halves takes pairs: two neighbours of what is summed over lie in one place, of either side. So one place
// is spread over a vector as a float is, and a sum is of two parts, which are added at the end.

#pragma once

#include "cpu.h"

#include <cmath>
#include <type_traits>
#if defined(__AVX512FP16__)
#include <immintrin.h>
#endif

namespace {

template <class Number>
constexpr int PAIR = sizeof(float) / sizeof(Number);  // numbers in a place

INLINE Vec places(const float* p) { return load(p); }  // a vector of them
INLINE float place(const float* p) { return *p; }      // one, to be multiplied by each of a vector
INLINE void store_sum(float* p, Vec sum) { store(p, sum); }
INLINE void store_pair(float* p, Vec v, Vec) { store(p, v); }  // of two vectors, each number beside its like
INLINE Vec wide(Vec sum) { return sum; }

#if defined(__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define STEEPEST_HALF 1

using Half = _Float16;
typedef Half Halves __attribute__((vector_size(L * sizeof(Half))));
typedef Half LooseHalves __attribute__((vector_size(L * sizeof(Half)), aligned(2), may_alias));
typedef Half Pairs __attribute__((vector_size(L * sizeof(float))));
typedef Half LoosePairs __attribute__((vector_size(L * sizeof(float)), aligned(2), may_alias));
typedef std::uint16_t Shorts __attribute__((vector_size(L * sizeof(Half))));
typedef std::uint32_t Words __attribute__((vector_size(L * sizeof(float))));

#if defined(__AVX512FP16__)  // GCC 12 converts the numbers one by one
INLINE Vec floats(Halves v) { return (Vec)_mm512_cvtph_ps((__m256i)v); }
INLINE Halves halves(Vec v) { return (Halves)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Shorts shorts(Words v) { return (Shorts)_mm512_cvtepi32_epi16((__m512i)v); }
INLINE Words words(Shorts v) { return (Words)_mm512_cvtepu16_epi32((__m256i)v); }
#else
INLINE Vec floats(Halves v) { return __builtin_convertvector(v, Vec); }
INLINE Halves halves(Vec v) { return __builtin_convertvector(v, Halves); }
INLINE Shorts shorts(Words v) { return __builtin_convertvector(v, Shorts); }
INLINE Words words(Shorts v) { return __builtin_convertvector(v, Words); }
#endif

INLINE Vec load(const Half* p) { return floats(*reinterpret_cast<const LooseHalves*>(p)); }
INLINE void store(Half* p, Vec v) { *reinterpret_cast<LooseHalves*>(p) = halves(v); }

INLINE Pairs places(const Half* p) { return *reinterpret_cast<const LoosePairs*>(p); }
INLINE Pairs place(const Half* p) {
    std::uint32_t both;
    std::memcpy(&both, p, sizeof both);
    return (Pairs)(Words{} + both);
}

INLINE void store_sum(Half* p, Pairs sum) {
    const Pairs turned = (Pairs)((Words)sum >> 16 | (Words)sum << 16);
    *reinterpret_cast<LooseHalves*>(p) = (Halves)shorts((Words)(sum + turned));
}
INLINE Vec wide(Pairs sum) { return floats((Halves)shorts((Words)sum)) + floats((Halves)shorts((Words)sum >> 16)); }
INLINE void store_pair(Half* p, Vec v, Vec w) {
    *reinterpret_cast<LoosePairs*>(p) = (Pairs)(words((Shorts)halves(v)) | words((Shorts)halves(w)) << 16);
}

#endif

// The power of two that brings the mean size of some of `rows` rows of numbers, each `step` from the last, to about `size`;
// 1 if they are all 0, or not all finite.
inline float scale_to(float size, const float* data, Index rows, Index row, Index step) {
    Vec sums = {};
    float sum = 0;
    Index seen = 0;
    for (Index i = 0; i < rows; i += step, seen += row) {
        const float* p = data + i * row;
        Index j = 0;
        for (; j + L <= row; j += L) sums += load(p + j) < 0 ? -load(p + j) : load(p + j);
        for (; j < row; j++) sum += std::fabs(p[j]);
    }
    for (int l = 0; l < L; l++) sum += sums[l];
    const float ratio = size * static_cast<float>(seen) / sum;
    return std::isfinite(ratio) && ratio > 0 ? std::exp2(std::floor(std::log2(ratio))) : 1;
}

}  // namespace
