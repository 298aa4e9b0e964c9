// Maps of bfloat16, the upper 16 bits of a float: half the memory. What is computed of them is float, rounded as it is stored.

#pragma once

#include "cpu.h"

#if defined(__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define STEEPEST_HALF 1  // the processor multiplies vectors of halves, and maps of bfloat16 go with them
#endif

namespace {

typedef std::uint16_t Shorts __attribute__((vector_size(L * sizeof(std::uint16_t))));
typedef std::uint16_t LooseShorts __attribute__((vector_size(L * sizeof(std::uint16_t)), aligned(2), may_alias));
typedef std::uint32_t Words __attribute__((vector_size(L * sizeof(float))));

#if defined(__AVX512F__)  // GCC 12 converts numbers one by one, and moves them about in several steps
INLINE Shorts shorts(Words v) { return (Shorts)_mm512_cvtepi32_epi16((__m512i)v); }
INLINE Words words(Shorts v) { return (Words)_mm512_cvtepu16_epi32((__m256i)v); }
#else
INLINE Shorts shorts(Words v) { return __builtin_convertvector(v, Shorts); }
INLINE Words words(Shorts v) { return __builtin_convertvector(v, Words); }
#endif

struct BFloat16 {
    std::uint16_t bits;

    operator float() const {
        const std::uint32_t whole = std::uint32_t(bits) << 16;
        float value;
        std::memcpy(&value, &whole, sizeof value);
        return value;
    }
};

// To the nearest, of two as near to the even one; nan stays nan.
INLINE Shorts rounded(Vec v) {
#if defined(__AVX512BF16__)
    return (Shorts)_mm512_cvtneps_pbh((__m512)v);
#else
    const Words bits = (Words)v;
    return shorts((v == v ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000) >> 16);
#endif
}

INLINE Vec load(const BFloat16* p) { return (Vec)(words((Shorts)*reinterpret_cast<const LooseShorts*>(p)) << 16); }
INLINE void store(BFloat16* p, Vec v) { *reinterpret_cast<LooseShorts*>(p) = rounded(v); }

INLINE Vec load_first(const BFloat16* p, Index count) {
    BFloat16 lanes[L] = {};
    std::memcpy(lanes, p, count * sizeof *p);
    return load(lanes);
}

INLINE void store_first(BFloat16* p, const Vec& v, Index count) {
    BFloat16 lanes[L];
    store(lanes, v);
    std::memcpy(p, lanes, count * sizeof *p);
}

INLINE void stream(BFloat16* p, Vec v) {
#if defined(__AVX512F__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)rounded(v));
#else
    store(p, v);
#endif
}

}  // namespace
