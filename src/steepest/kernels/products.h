// A convolution's memory, its transformed weights, and the products into which they and the maps go.

#pragma once

#include "half.h"
#include "winograd.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

// Rows of a product's register block, and rows of one of the weight gradient's (each times two vectors).
#if defined(__AVX512F__)
constexpr int ROWS = 12, GRAD_ROWS = 8;
#elif defined(__AVX__)
constexpr int ROWS = 6, GRAD_ROWS = 4;
#elif defined(__aarch64__)
constexpr int ROWS = 12, GRAD_ROWS = 4;
#else
constexpr int ROWS = 6, GRAD_ROWS = 4;
#endif

// ---- Memory that a calling thread keeps between calls: fresh pages would cost more than the work.

struct Arena {
    char* memory = nullptr;
    std::size_t size = 0;

    ~Arena() { std::free(memory); }

    // Room for so many bytes, or null.
    char* room(std::size_t bytes) {
        constexpr std::size_t page = std::size_t(2) << 20;
        bytes = (bytes + page - 1) / page * page;
        if (bytes > size) {
            std::free(memory);
            memory = nullptr;
            size = 0;
            void* fresh = nullptr;
            if (posix_memalign(&fresh, page, bytes)) return nullptr;
            memory = static_cast<char*>(fresh);
            size = bytes;
#if defined(__linux__)
            madvise(memory, size, MADV_HUGEPAGE);
#endif
        }
        return memory;
    }
};

thread_local Arena arena;

// So many groups of zeros, and room for so many numbers, which is null where there is no memory.
template <class Number>
std::pair<const float*, Number*> room(Index groups, Index numbers) {
    const Index zeros = groups * L * Index(sizeof(float));
    char* memory = arena.room(zeros + numbers * sizeof(Number));
    if (!memory) return {nullptr, nullptr};
    std::memset(memory, 0, zeros);
    return {reinterpret_cast<float*>(memory), reinterpret_cast<Number*>(memory + zeros)};
}

// ---- Weights (K, C, 3, 3), at any strides; `turned` by 180 degrees for the input's gradient.

struct Filters {
    float* data;
    Index k, c, per_k, per_c, per_row, per_column;
    bool turned;
    float scale = 1;  // by which products of halves multiply them
    Index at(int i, int j) const { return turned ? (2 - i) * per_row + (2 - j) * per_column : i * per_row + j * per_column; }
};

constexpr Index PART = 16;  // input channels whose weights are transformed at a time

// U of one panel, two groups of K from `group` on, for input channels [from, to). A row of frequencies at a time, so that few
// streams are written at once, and the next lines of each are called into the cache.
template <class Family, class Number, class Used>
void pack(const Filters& w, Index group, Index from, Index to, const Used& used, Number* u, Index slab) {
    using G = WeightRows<Family::LARGE>;
    constexpr int A = Family::SIDE, TWO = PAIR<Number>;
    const Index wide = std::min<Index>(2, up(w.k, L) - group);
    Number* out = u + group * w.c * L;
    Vec half[PART][2][A][3];
    for (Index g = 0; g < wide; g++) {
        const Index first = (group + g) * L, lanes = std::min<Index>(L, w.k - first);
        float taps[PART][3][3][L] = {};
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                for (Index l = 0; l < lanes; l++) {
                    const float* p = w.data + (first + l) * w.per_k + w.at(i, j);
                    for (Index c = from; c < to; c++) taps[c - from][i][j][l] = p[c * w.per_c] * w.scale;
                }
        for (Index c = 0; c < to - from; c++)
            for (int j = 0; j < 3; j++) {
                const Vec column[3] = {load(taps[c][0][j]), load(taps[c][1][j]), load(taps[c][2][j])};
                Vec done[A];
                times<G>(column, done);
                for (int i = 0; i < A; i++) half[c][g][i][j] = done[i];
            }
    }
    for (int i = 0; i < A; i++)
        for (Index c = from; c < to; c += TWO)
            for (Index g = 0; g < wide; g++) {
                Vec done[TWO][A];
                for (int one = 0; one < TWO; one++) times<G>(half[c - from + one][g][i], done[one]);
                for (int j = 0; j < A; j++) {
                    if (!used(i * A + j)) continue;
                    Number* to_u = out + (i * A + j) * slab + (c * wide + g * TWO) * L;
                    store_pair(to_u, done[0][j], done[TWO - 1][j]);
                    __builtin_prefetch(to_u + 4 * wide * TWO * L, 1);
                }
            }
}

// ---- The products.

// m[p][r] = Σ_c a[r][c] · b[c][p] for R tiles and P groups of L outputs. With each place of channels a line is called into
// the cache, `step` further than the last.
template <int R, int P, class Number>
void product(const Number* a, Index lane, const Number* b, Index channels, Number* m, Index m_lane, const Number* ahead, Index step) {
    constexpr int TWO = PAIR<Number>;
    decltype(places(b)) sum[R][P] = {};
    for (; channels > 0; channels -= WIDE<Number>, a += lane) {
        const int count = static_cast<int>(std::min<Index>(channels, WIDE<Number>)) / TWO;
        each<R>([&](auto r) IN_PLACE { __builtin_prefetch(a + (R + r) * WIDE<Number>); });
#pragma GCC unroll 2
        for (int i = 0; i < count; i++, b += P * L * TWO, ahead += step) {
            decltype(places(b)) right[P];
            each<P>([&](auto p) IN_PLACE { right[p] = places(b + p * L * TWO); });
            __builtin_prefetch(ahead, 0, 2);
            each<R>([&](auto r) IN_PLACE {
                const auto left = place(a + r * WIDE<Number> + i * TWO);
                each<P>([&](auto p) IN_PLACE { sum[r][p] += right[p] * left; });
            });
        }
    }
    each<R>([&](auto r) IN_PLACE { store_sums<P>(m + r * WIDE<Number>, m_lane, sum[r]); });
}

// All tiles' rows in register blocks as even as can be. Meanwhile the weights from `ahead` on are called into the cache,
// from where the next panel reads them as fast as they are needed.
template <int P, class Number>
void panel(Index tiles, const Number* a, Index lane, const Number* b, Index channels, Number* m, Index m_lane, const Number* ahead) {
    constexpr int TWO = PAIR<Number>;
    Index blocks = up(tiles, ROWS);
    const Index step = up(P * L * TWO, std::max<Index>(blocks, 1));
    for (Index rows; blocks; blocks--, tiles -= rows, a += rows * WIDE<Number>, m += rows * WIDE<Number>, ahead += channels / TWO * step) {
        rows = up(tiles, blocks);
        each<ROWS>([&](auto r) IN_PLACE {
            if (rows == r + 1) product<r + 1, P>(a, lane, b, channels, m, m_lane, ahead, step);
        });
    }
}

// Adds to (or, first, sets) R rows of the weights' gradient: d[p][r] += Σ_t v[t][r] · z[p][t].
template <int R, int P, class Number>
INLINE void grad_product(const Number* v, const Number* z, Index z_lane, Index tiles, float* d, Index d_lane, bool first) {
    constexpr int TWO = PAIR<Number>;
    decltype(places(z)) sum[R][P] = {};
    const auto each_sum = [&](auto&& body) IN_PLACE {
        each<R>([&](auto r) IN_PLACE { each<P>([&](auto p) IN_PLACE { body(sum[r][p], d + p * d_lane + r * L); }); });
    };
    if constexpr (TWO == 1)
        if (!first) each_sum([](Vec& one, float* p) IN_PLACE { one = load(p); });
    for (Index t = 0; t < tiles; t += TWO, v += TWO * L, z += TWO * L) {
        decltype(places(z)) right[P];
        each<P>([&](auto p) IN_PLACE { right[p] = places(z + p * z_lane); });
        each<R>([&](auto r) IN_PLACE {
            const auto left = place(v + r * TWO);
            each<P>([&](auto p) IN_PLACE { sum[r][p] += right[p] * left; });
        });
    }
    each_sum([&](auto& one, float* p) IN_PLACE { store(p, TWO == 1 || first ? wide(one) : wide(one) + load(p)); });
}

}  // namespace
