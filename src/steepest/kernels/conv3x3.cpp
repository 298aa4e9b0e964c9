// A 3×3 stride-1 convolution for CPUs, forward and both gradients, by Winograd's method (A. Lavin, S. Gray, 2015,
// arXiv 1509.09308), float32, maps as (N, H, W, C).
//
// F(m×m, 3×3) makes m×m outputs of an a×a piece of the input, a = m + 2, with a² products a pair of channels in the
// place of 9m²: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. Summed over input channels, each of the a² frequencies is a product of
// matrices: (tiles × C) times (C × K). A map's side is cut into 6s and 4s or into 4s and 3s: 7 pixels take
// 36 + 30 + 30 + 25 products, where four tiles of 4×4 take 144. The points of the smaller size are points of the larger
// one, so that all tiles share the transformed weights and a frequency's product.
//
// Forward: a thread takes a block of tiles through input transform, products and output transform while it lies in its
// cache, and calls the next block's input there meanwhile. The gradient with respect to the input is a forward pass with
// the filters turned and their channels exchanged, or, where that takes fewer products, the exact adjoint of all three
// steps, whose tiles overlap. The gradient with respect to the weights is the exact adjoint: per frequency (C × tiles)
// times (tiles × K), then Gᵀ · G.
//
// A max-pool of 2×2 behind the convolution is part of it: only what the pool takes is computed, the outputs' transform
// writes the largest, and backward the transforms read the pool's gradient where its choice was.
//
// Channels lie in groups of L, the lanes of a vector. V, the transformed input: [frequency][group][tile][L], so that the
// distance between two tiles of a product's rows is a constant. U, the transformed weights: [frequency][panel][C][2L].
// Vectors are the compiler's own (GCC, Clang), so that AVX-512, AVX2, SSE and NEON come from this one source.

#include "tiles.h"

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

    // Room for so many floats, or null.
    float* room(std::size_t floats) {
        constexpr std::size_t page = std::size_t(2) << 20;
        std::size_t bytes = (floats * sizeof(float) + page - 1) / page * page;
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
        return reinterpret_cast<float*>(memory);
    }
};

thread_local Arena arena;

// ---- Weights (K, C, 3, 3), at any strides; `turned` by 180 degrees for the input's gradient.

struct Filters {
    float* data;
    Index k, c, per_k, per_c, per_row, per_column;
    bool turned;
    Index at(int i, int j) const { return turned ? (2 - i) * per_row + (2 - j) * per_column : i * per_row + j * per_column; }
};

constexpr Index PART = 16;  // input channels whose weights are transformed at a time

// U of one panel, two groups of K from `group` on, for input channels [from, to). A row of frequencies at a time, so that few
// streams are written at once, and the next lines of each are called into the cache.
template <class Family, class Used>
void pack(const Filters& w, Index group, Index from, Index to, const Used& used, float* u, Index slab) {
    using G = WeightRows<Family::LARGE>;
    constexpr int A = Family::SIDE;
    const Index wide = std::min<Index>(2, up(w.k, L) - group);
    float* out = u + group * w.c * L;
    Vec half[PART][2][A][3];
    for (Index g = 0; g < wide; g++) {
        const Index first = (group + g) * L, lanes = std::min<Index>(L, w.k - first);
        float taps[PART][3][3][L] = {};
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                for (Index l = 0; l < lanes; l++) {
                    const float* p = w.data + (first + l) * w.per_k + w.at(i, j);
                    for (Index c = from; c < to; c++) taps[c - from][i][j][l] = p[c * w.per_c];
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
        for (Index c = from; c < to; c++)
            for (Index g = 0; g < wide; g++) {
                Vec done[A];
                times<G>(half[c - from][g][i], done);
                for (int j = 0; j < A; j++) {
                    if (!used(i * A + j)) continue;
                    float* to_u = out + (i * A + j) * slab + (c * wide + g) * L;
                    store(to_u, done[j]);
                    __builtin_prefetch(to_u + 4 * wide * L, 1);
                }
            }
}

// ---- The products.

// m[p][r] = Σ_c a[r][c] · b[c][p] for R tiles and P groups of L outputs. With each channel a line is called into the cache,
// `step` further than the last.
template <int R, int P>
void product(const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane, const float* ahead, Index step) {
    Vec sum[R][P] = {};
    for (; channels > 0; channels -= L, a += lane) {
        const int count = static_cast<int>(std::min<Index>(channels, L));
#pragma GCC unroll 2
        for (int i = 0; i < count; i++, b += P * L, ahead += step) {
            Vec right[P];
            each<P>([&](auto p) IN_PLACE { right[p] = load(b + p * L); });
            __builtin_prefetch(ahead, 0, 2);
            each<R>([&](auto r) IN_PLACE {
                const float left = a[r * L + i];
                each<P>([&](auto p) IN_PLACE { sum[r][p] += right[p] * left; });
            });
        }
    }
    each<R>([&](auto r) IN_PLACE { each<P>([&](auto p) IN_PLACE { store(m + p * m_lane + r * L, sum[r][p]); }); });
}

// All tiles' rows in register blocks as even as can be. Meanwhile the weights from `ahead` on are called into the cache,
// from where the next panel reads them as fast as they are needed.
template <int P>
void panel(Index tiles, const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane, const float* ahead) {
    Index blocks = up(tiles, ROWS);
    const Index step = up(P * L, std::max<Index>(blocks, 1));
    for (Index rows; blocks; blocks--, tiles -= rows, a += rows * L, m += rows * L, ahead += channels * step) {
        rows = up(tiles, blocks);
        each<ROWS>([&](auto r) IN_PLACE {
            if (rows == r + 1) product<r + 1, P>(a, lane, b, channels, m, m_lane, ahead, step);
        });
    }
}

// Adds to (or, first, sets) R rows of the weights' gradient: d[p][r] += Σ_t v[t][r] · z[p][t].
template <int R, int P>
INLINE void grad_product(const float* v, const float* z, Index z_lane, Index tiles, float* d, Index d_lane, bool first) {
    Vec sum[R][P] = {};
    if (!first) each<R>([&](auto r) IN_PLACE { each<P>([&](auto p) IN_PLACE { sum[r][p] = load(d + p * d_lane + r * L); }); });
    for (Index t = 0; t < tiles; t++, v += L, z += L) {
        Vec right[P];
        each<P>([&](auto p) IN_PLACE { right[p] = load(z + p * z_lane); });
        each<R>([&](auto r) IN_PLACE {
            const float left = v[r];
            each<P>([&](auto p) IN_PLACE { sum[r][p] += right[p] * left; });
        });
    }
    each<R>([&](auto r) IN_PLACE { each<P>([&](auto p) IN_PLACE { store(d + p * d_lane + r * L, sum[r][p]); }); });
}

// ---- The passes.

constexpr Index CACHE = Index(1) << 20;  // bytes that a thread's block may fill: of a second-level cache
constexpr Index GROUPS = 64 / L;                // of channels that are in work at once

// What a pass writes: maps (N, h, w, K), or the largest of each 2×2 of their pixels and, unless null, which of them it is.
struct Outputs {
    float* data;
    Index h, w, k;
    const float* bias = nullptr;
    bool pooled = false;
    std::uint8_t* which = nullptr;
    bool added = false;  // of pieces that overlap: to be added to what is there

    Index step() const { return pooled ? 2 : 1; }
    // A pixel written, which lies within the maps or not.
    Index at(Index map, Index row, Index column) const { return (map * (h / step()) + row) * (w / step()) + column; }

    template <bool adding = false>
    INLINE void write(Index at, Vec value, Index group) const {
        const Index lanes = std::min<Index>(L, k - group * L);
        if (bias) value += load_first(bias + group * L, lanes);
        if (adding) value += lanes == L ? load(data + at) : load_few(data + at, lanes);
        lanes == L ? store(data + at, value) : store_first(data + at, value, lanes);
    }

    void call_into_cache(Index map, Index top, Index left, Index size, Index from, Index to) const {
        const Index s = step();
        for (Index i = std::max<Index>(0, top / s); i < std::min((top + size) / s, h / s); i++)
            for (Index j = std::max<Index>(0, left / s); j < std::min((left + size) / s, w / s); j++)
                for (Index g = from; g < to; g++) __builtin_prefetch(data + at(map, i, j) * k + g * L, 1);
    }

    // Transforms one group of one tile's products, whose first pixel is (top, left).
    template <class Rows, class Columns, class In>
    INLINE void transform(Index map, Index top, Index left, Index group, In&& in) const {
        const auto each_pixel = [&](auto adding) IN_PLACE {
            const Index first = at(map, top, left) * k + group * L;
            both_sides<Rows, Columns>(in, [&](int i, int j, Vec value) IN_PLACE {
                if (std::size_t(top + i) < std::size_t(h) && std::size_t(left + j) < std::size_t(w))
                    write<adding>(first + (i * w + j) * k, value, group);
            });
        };
        if constexpr (Rows::rows == Rows::columns) {  // pieces of an input's gradient
            added ? each_pixel(std::true_type{}) : each_pixel(std::false_type{});
        } else {
            pooled ? largest<Rows, Columns>(map, top, left, group, in) : each_pixel(std::false_type{});
        }
    }

    template <class Rows, class Columns, class In>
    INLINE void largest(Index map, Index top, Index left, Index group, In&& in) const {
        Vec all[Rows::rows][Columns::rows];
        both_sides<Rows, Columns>(in, [&](int i, int j, Vec value) IN_PLACE { all[i][j] = value; });
        for (int i = 0; i + 1 < std::min<Index>(Rows::rows, h - top); i += 2)
            for (int j = 0; j + 1 < std::min<Index>(Columns::rows, w - left); j += 2) {
                Vec best = all[i][j];
                Choice choice = {};
                for (int one = 1; one < 4; one++) {
                    const Vec next = all[i + one / 2][j + one % 2];
                    const Choice larger = (next > best) | (next != next);  // nan is the largest
                    best = larger ? next : best;
                    choice = larger ? bits(one) : choice;
                }
                const Index pixel = at(map, (top + i) / 2, (left + j) / 2);
                write(pixel * k + group * L, best, group);
                if (!which) continue;
                pack_choices(which + pixel * choice_bytes(k) + group * (L / 4), choice);
            }
    }
};

// Transforms x by In, multiplies by the weights, and transforms to y by Out, whose tiles start `before` pixels above and
// left of theirs.
template <template <int, int> class In, template <int, int> class Out, class Family>
int pass(const Maps& x, const Filters& w, const Outputs& y, const Tiles<Family>& tiles, Index pad, Index before, int threads) {
    constexpr int F = Family::FREQUENCIES, LARGE = Family::LARGE, SIDE = Family::SIDE;
    const Index groups = up(w.k, L), in_groups = up(x.c, L);
    const Index at_once = std::min<Index>(groups, GROUPS);
    const Index floats = CACHE / Index(sizeof(float));
    // Weights that do not stay in cache are read anew for each block: it may then overflow for the sake of more tiles, 24 of
    // 64 frequencies.
    const Index least = F * w.k * w.c > floats ? 24 * 64 / F / ROWS * ROWS : ROWS;
    const Index fits = std::max(least, floats / (F * L * (in_groups + at_once)) / ROWS * ROWS);
    const Index even = up(up(tiles.count, 4 * threads), ROWS) * ROWS;
    const Index a_map = y.added ? tiles.a_map() : 1;
    const Index most = std::min({fits, std::max<Index>(even, ROWS), MOST_TILES}) / a_map * a_map;
    const Index all = std::max<Index>(1, tiles.count), blocks = up(up(all, most), threads) * threads;  // as many for each
    const Index block = up(up(all, blocks), a_map) * a_map;
    const Index lane = (block + 1) * L, v_slab = in_groups * lane + L, m_slab = at_once * lane + L;
    const Index u_slab = groups * w.c * L + L, scratch = F * (v_slab + m_slab), zeros = in_groups * L;
    float* memory = arena.room(zeros + F * u_slab + threads * scratch);
    if (!memory) return 1;
    float *u = memory + zeros, *scratches = u + F * u_slab;
    std::fill(memory, memory + zeros, 0.f);
    auto used = [&](int f) {
        return (tiles.rows.longs || Family::shared(f / SIDE)) && (tiles.columns.longs || Family::shared(f % SIDE));
    };
    const Index parts = up(w.c, PART);
    divide(threads, up(groups, 2) * parts, [&](int, Index job) {
        const Index from = job % parts * PART;
        pack<Family>(w, job / parts * 2, from, std::min(from + PART, w.c), used, u, u_slab);
    });
    divide_ahead(threads, up(tiles.count, block), [&](int worker, Index job, Index after) {
        float *v = scratches + worker * scratch, *m = v + F * v_slab;
        const Index count = std::min(block, tiles.count - job * block);
        const Block here(tiles, job * block, job * block + count);
        const Block next(tiles, std::min(after * block, tiles.count), std::min((after + 1) * block, tiles.count));
        if (y.added) {
            const Index one = y.h * y.w * y.k, from = job * block / a_map;
            std::fill(y.data + from * one, y.data + (from + count / a_map) * one, 0.f);
        }
        transform<In>(x, here, {0, count}, pad, memory, v, v_slab, lane);
        for (Index start = 0; start < groups; start += at_once) {
            const Index stop = std::min(start + at_once, groups);
            for (int f = 0; f < F; f++) {
                if (!start) next.template call_into_cache<In>(x, pad, f);
                // A share of the outputs' lines is called into the cache meanwhile, to be written without waiting.
                for (Index t = count * f / F; t < count * (f + 1) / F; t++) {
                    const auto [map, row, column] = here.tiles[t];
                    y.call_into_cache(map, row - before, column - before, Out<LARGE, LARGE>::rows, start, stop);
                }
                const Index first = here.first(f), rows = here.last(f) - first;
                for (Index g = start; g < stop; g += 2) {
                    const float* a = v + f * v_slab + first * L;
                    const float* b = u + f * u_slab + g * w.c * L;
                    const float* ahead = g + 2 < stop ? b + 2 * w.c * L : b + u_slab - (g - start) * w.c * L;
                    float* out = m + f * m_slab + (g - start) * lane + first * L;
                    if (g + 1 < groups)
                        panel<2>(rows, a, lane, b, x.c, out, lane, ahead);
                    else
                        panel<1>(rows, a, lane, b, x.c, out, lane, ahead);
                }
            }
            here.sizes({0, count}, [&](auto high, auto wide, Index from, Index end) {
                for (Index t = from; t < end; t++) {
                    const auto [map, row, column] = here.tiles[t];
                    for (Index g = start; g < stop; g++) {
                        const float* from_m = m + (g - start) * lane + t * L;
                        y.transform<Out<LARGE, high>, Out<LARGE, wide>>(map, row - before, column - before, g, [&](int i, int j) IN_PLACE {
                            return load(from_m + (place<LARGE, high>(i) * SIDE + place<LARGE, wide>(j)) * m_slab);
                        });
                    }
                }
            });
        }
    });
    return 0;
}

int forward(const Maps& x, const Filters& w, const Outputs& y, Index pad, int only, int threads) {
    const Index step = y.step();
    return cheapest(x.n, y.h / step * step, y.w / step * step, only, y.pooled, [&](const auto& tiles) {
        return pass<InputRows, OutputRows>(x, w, y, tiles, pad, 0, threads);
    });
}

// dx of dy. w: with the channels exchanged, and not yet turned.
int input_gradient(const Maps& dy, Filters w, Outputs dx, Index pad, int only, int threads) {
    const Index step = dy.which ? 2 : 1;
    // A tile of all outputs that matter has all pixels of the input that do, and all others are 0.
    auto whole = [&](const Cut& cut, Index length) { return cut.count == 1 && cut.size(0) + 2 - pad >= length; };
    return cheapest(dy.n, dy.h / step * step, dy.w / step * step, only, dy.which != nullptr, [&](const auto& tiles) {
        return cheapest(dy.n, dx.h, dx.w, only, false, [&](const auto& others) {
            dx.added = !whole(tiles.rows, dx.h) || !whole(tiles.columns, dx.w);
            if (!dx.added || (tiles.cost() < others.cost() && tiles.a_map() <= ROWS))
                return pass<GradientRows, SpreadRows>(dy, w, dx, tiles, 0, pad, threads);
            dx.added = false;
            w.turned = true;
            return pass<InputRows, OutputRows>(dy, w, dx, others, 2 - pad, 0, threads);
        });
    });
}

// A gradient that fits into a thread's cache each thread sums over a part of the tiles, in blocks that fit there too; the
// parts are added up at the end, always in the same order. A larger one is one part, of which all threads transform a block
// and then divide the frequencies.
template <class Family>
int weight_gradient(const Maps& x, const Maps& dy, const Filters& dw, const Tiles<Family>& tiles, Index pad, int threads) {
    constexpr int F = Family::FREQUENCIES;
    using G = Transposed<WeightRows<Family::LARGE>>;
    const Index ins = up(x.c, L), outs = up(dy.c, L), d_lane = ins * L * L, d_slab = outs * d_lane + L;
    const Index floats = CACHE / Index(sizeof(float));
    const bool shared = F * outs * d_lane > floats;
    const Index parts = shared ? 1 : threads, share = std::max<Index>(1, up(tiles.count, parts));
    const Index fits = (shared ? 8 : 1) * floats / (F * L * (ins + outs));
    const Index block = up(share, up(share, std::clamp<Index>(fits, 8, MOST_TILES)));
    const Index lane = (block + 1) * L, v_slab = ins * lane + L, z_slab = outs * lane + L;
    const Index scratch = F * (v_slab + z_slab + d_slab), zeros = std::max(ins, outs) * L;
    float* memory = arena.room(zeros + parts * scratch);
    if (!memory) return 1;
    std::fill(memory, memory + zeros, 0.f);
    auto sum = [&](Index part, int team) {
        float *d = memory + zeros + part * scratch, *v = d + F * d_slab, *z = v + F * v_slab;
        const Index start = std::min(part * share, tiles.count), end = std::min(start + share, tiles.count);
        for (Index from = start; from == start || from < end; from += block) {
            const Block here(tiles, from, std::min(from + block, end));
            const Index count = here.starts[4], piece = team > 1 ? 8 : block;
            divide(team, up(count, piece), [&](int, Index job) {
                const Range range{job * piece, std::min((job + 1) * piece, count)};
                transform<InputRows>(x, here, range, pad, memory, v, v_slab, lane, shared);
                transform<GradientRows>(dy, here, range, Index(0), memory, z, z_slab, lane, shared);
            });
            const Block next(tiles, std::min(from + block, end), std::min(from + 2 * block, end));
            divide(team, F, [&](int, Index f) {
                next.template call_into_cache<InputRows>(x, pad, f);
                next.template call_into_cache<GradientRows>(dy, 0, f);
                const Index first = here.first(f), rows = here.last(f) - first;
                if (!rows && from > start) return;
                for (Index g = 0; g < outs; g += 2)
                    for (Index c = 0; c < x.c; c += GRAD_ROWS) {
                        const float* left = v + f * v_slab + c / L * lane + c % L + first * L;
                        const float* right = z + f * z_slab + g * lane + first * L;
                        float* out = d + f * d_slab + g * d_lane + c * L;
                        if (g + 1 < outs)
                            grad_product<GRAD_ROWS, 2>(left, right, lane, rows, out, d_lane, from == start);
                        else
                            grad_product<GRAD_ROWS, 1>(left, right, lane, rows, out, d_lane, from == start);
                    }
            });
        }
    };
    shared ? sum(0, threads) : divide(threads, parts, [&](int, Index part) { sum(part, 1); });
    divide(threads, ins * outs, [&](int, Index job) {
        const Index in = job / outs, g = job % outs;
        const Index lanes = std::min<Index>(L, dy.c - g * L), channels = std::min<Index>(L, x.c - in * L);
        const float* d = memory + zeros + g * d_lane + in * L * L;
        float taps[3][3][L][L];
        for (Index c = 0; c < channels; c++)
            both_sides<G, G>(
                [&](int i, int j) IN_PLACE {
                    const float* p = d + (i * Family::SIDE + j) * d_slab + c * L;
                    Vec sum = load(p);
                    for (Index part = 1; part < parts; part++) sum += load(p + part * scratch);
                    return sum;
                },
                [&](int i, int j, Vec value) IN_PLACE { store(taps[i][j][c], value); });
        for (Index l = 0; l < lanes; l++)
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++) {
                    float* p = dw.data + (g * L + l) * dw.per_k + in * L * dw.per_c + dw.at(i, j);
                    for (Index c = 0; c < channels; c++) p[c * dw.per_c] = taps[i][j][c][l];
                }
    });
    return 0;
}

}  // namespace

extern "C" {

// The function GOMP_parallel of the OpenMP runtime whose threads to use; null for threads of our own.
void steepest_threads(void* function) {
    steepest::openmp = reinterpret_cast<steepest::OpenMP>(function);
}

// y (N, H + 2 pad - 2, W + 2 pad - 2, K) of x (N, H, W, C), both dense. w: (K, C, 3, 3) at the strides (in floats) given.
// pool: y is the largest of each 2×2 pixels of those, (N, .. / 2, .. / 2, K), and which, unless null, as many bytes that say
// which of the four it is. pad: 0 or 1. tile: 3 or 4 for tiles of that size alone, 6 for 6s and 4s, 0 for the cheapest. Gives
// 0, or 1 for want of memory, as all of these do.
int steepest_conv(const float* x, const float* w, const float* bias, float* y, std::uint8_t* which, Index n, Index h,
                  Index wide, Index c, Index k, const Index* strides, int pad, int pool, int tile, int threads) {
    const Maps maps{x, n, h, wide, c};
    const Filters filters{const_cast<float*>(w), k, c, strides[0], strides[1], strides[2], strides[3], false};
    const Outputs outputs{y, h + 2 * pad - 2, wide + 2 * pad - 2, k, bias, pool != 0, which};
    return forward(maps, filters, outputs, pad, tile, threads);
}

// dx (N, H, W, C) of dy, which is y's gradient, or, where `which` is not null, that of the pool behind it.
int steepest_input_gradient(const float* dy, const std::uint8_t* which, const float* w, float* dx, Index n, Index h,
                            Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    const Maps gradient{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k, which};
    const Filters filters{const_cast<float*>(w), c, k, strides[1], strides[0], strides[2], strides[3], false};
    return input_gradient(gradient, filters, Outputs{dx, h, wide, c}, pad, tile, threads);
}

// dw (K, C, 3, 3) at the strides given, of x (N, H, W, C) and dy as above.
int steepest_weight_gradient(const float* x, const float* dy, const std::uint8_t* which, float* dw, Index n, Index h,
                             Index wide, Index c, Index k, const Index* strides, int pad, int tile, int threads) {
    const Maps maps{x, n, h, wide, c}, gradient{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k, which};
    const Filters filters{dw, k, c, strides[0], strides[1], strides[2], strides[3], false};
    const Index step = which ? 2 : 1;
    return cheapest(n, gradient.h / step * step, gradient.w / step * step, tile, which != nullptr, [&](const auto& tiles) {
        return weight_gradient(maps, gradient, filters, tiles, pad, threads);
    });
}
}
