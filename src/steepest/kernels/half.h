// The numbers that a convolution's products are of: float, or half where the processor multiplies vectors of them
// (AVX512-FP16, NEON), two to a float's place.
//
// A product of halves takes pairs: two neighbours of what is summed over lie in one place, of either side. So one place
// is spread over a vector as a float is, and a sum is of two parts, which are added at the end.

#pragma once

#include "bfloat16.h"

#include <cmath>
#include <type_traits>

namespace {

template <class Number>
constexpr int PAIR = sizeof(float) / sizeof(Number);  // numbers in a place
template <class Number>
constexpr int WIDE = L * PAIR<Number>;  // numbers in a vector of them

INLINE Vec places(const float* p) { return load(p); }  // a vector of them
INLINE float place(const float* p) { return *p; }      // one, to be multiplied by each of a vector
INLINE Vec wide(Vec sum) { return sum; }
template <int P>
INLINE void store_sums(float* p, Index lane, const Vec* sums) {
    each<P>([&](auto i) IN_PLACE { store(p + i * lane, sums[i]); });
}
INLINE void store_pair(float* p, Vec v, Vec) { store(p, v); }
INLINE Vec joined(const Vec* parts, float, const float*) { return parts[0]; }
INLINE Vec part(Vec v, int) { return v; }

#if defined(STEEPEST_HALF)

#if defined(__aarch64__) && !defined(__clang__)  // GCC 12 has no _Float16 here in C++
using Half = __fp16;
#else
using Half = _Float16;
#endif
typedef Half Halves __attribute__((vector_size(L * sizeof(float))));
typedef Half LooseHalves __attribute__((vector_size(L * sizeof(float)), aligned(2), may_alias));
typedef Half Few __attribute__((vector_size(L * sizeof(Half))));  // as many as a vector has floats
typedef Half LooseFew __attribute__((vector_size(L * sizeof(Half)), aligned(2), may_alias));
typedef std::uint16_t AllShorts __attribute__((vector_size(L * sizeof(float))));

#if defined(__AVX512FP16__)
INLINE Vec floats(Few v) { return (Vec)_mm512_cvtph_ps((__m256i)v); }
INLINE Few few(Vec v) { return (Few)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Halves shorts(Words v, Words w) {
    AllShorts every;
    for (int i = 0; i < 2 * L; i++) every[i] = static_cast<std::uint16_t>(2 * i);
    return (Halves)_mm512_permutex2var_epi16((__m512i)v, (__m512i)every, (__m512i)w);
}
INLINE Few first(Halves v) { return (Few)_mm512_castsi512_si256((__m512i)v); }
INLINE Few second(Halves v) { return (Few)_mm512_extracti64x4_epi64((__m512i)v, 1); }
INLINE Halves both(Few v, Few w) { return (Halves)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)v), (__m256i)w, 1); }
#else
INLINE Vec floats(Few v) { return __builtin_convertvector(v, Vec); }
INLINE Few few(Vec v) { return __builtin_convertvector(v, Few); }
INLINE Few first(Halves v) {
    Few made;
    std::memcpy(&made, &v, sizeof made);
    return made;
}
INLINE Few second(Halves v) {
    Few made;
    std::memcpy(&made, reinterpret_cast<const char*>(&v) + sizeof made, sizeof made);
    return made;
}
INLINE Halves both(Few v, Few w) {
    Halves made;
    std::memcpy(&made, &v, sizeof v);
    std::memcpy(reinterpret_cast<char*>(&made) + sizeof v, &w, sizeof w);
    return made;
}
INLINE Halves shorts(Words v, Words w) { return both((Few)shorts(v), (Few)shorts(w)); }
#endif

INLINE Halves load(const Half* p) { return *reinterpret_cast<const LooseHalves*>(p); }
INLINE void store(Half* p, Halves v) { *reinterpret_cast<LooseHalves*>(p) = v; }

INLINE Halves places(const Half* p) { return load(p); }
INLINE Halves place(const Half* p) {
    std::uint32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return (Halves)(Words{} + pair);
}

// The sums of both parts: as floats, or P vectors' beside each other.
INLINE Vec wide(Halves sum) { return floats((Few)shorts((Words)sum)) + floats((Few)shorts((Words)sum >> 16)); }
INLINE Words added(Halves sum) { return (Words)(sum + (Halves)((Words)sum >> 16 | (Words)sum << 16)); }
template <int P>
INLINE void store_sums(Half* p, Index, const Halves* sums) {
    if constexpr (P == 2)
        store(p, shorts(added(sums[0]), added(sums[1])));
    else
        *reinterpret_cast<LooseFew*>(p) = (Few)shorts(added(sums[0]));
}

// Each number beside its like.
INLINE Halves pairs(Few v, Few w) { return (Halves)(words((Shorts)v) | words((Shorts)w) << 16); }
INLINE void store_pair(Half* p, Vec v, Vec w) { store(p, pairs(few(v), few(w))); }

// Two vectors of floats as one of halves, multiplied, and back.
INLINE Halves joined(const Vec* parts, float scale, const Half*) { return both(few(parts[0] * scale), few(parts[1] * scale)); }
INLINE Vec part(Halves v, int i) { return floats(i ? second(v) : first(v)); }

#endif

// Whether sums of numbers times 0 are 0: none of the numbers was infinite, or none at all.
INLINE bool finite(Vec zeros) {
    for (int l = 0; l < L; l++)
        if (zeros[l] != 0) return false;
    return true;
}

// The power of two that brings the mean size of some of `rows` rows of numbers, each `step` from the last, to about `size`;
// 1 if they are all 0, or not all finite.
template <class T>
float scale_to(float size, const T* data, Index rows, Index row, Index step) {
    Vec sums = {};
    float sum = 0;
    Index seen = 0;
    for (Index i = 0; i < rows; i += step, seen += row) {
        const T* p = data + i * row;
        Index j = 0;
        for (; j + L <= row; j += L) sums += load(p + j) < 0 ? -load(p + j) : load(p + j);
        for (; j < row; j++) sum += std::fabs(float(p[j]));
    }
    for (int l = 0; l < L; l++) sum += sums[l];
    const float ratio = size * static_cast<float>(seen) / sum;
    return std::isfinite(ratio) && ratio > 0 ? std::exp2(std::floor(std::log2(ratio))) : 1;
}

}  // namespace
