// A 3×3 stride-1 convolution for CPUs, forward and both gradients, by Winograd's method (A. Lavin, S. Gray, 2015,
// arXiv 1509.09308), float32, maps as (N, H, W, C).
//
// F(m×m, 3×3) makes m×m outputs of an a×a piece of the input, a = m + 2, with a² products a pair of channels in the
// place of 9m²: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. Summed over input channels, each of the a² frequencies is a product of
// matrices: (tiles × C) times (C × K).
//
// Forward: a thread takes a block of tiles through input transform, products and output transform while it lies in its
// cache. The gradient with respect to the input is a forward pass with the filters turned and their channels exchanged.
// The gradient with respect to the weights is the exact adjoint: per frequency (C × tiles) times (tiles × K), then
// Gᵀ · G.
//
// Channels lie in groups of L, the lanes of a vector. V, the transformed input: [frequency][group][tile][L], so that the
// distance between two tiles of a product's rows is a constant. U, the transformed weights: [frequency][panel][C][2L].
// Vectors are the compiler's own (GCC, Clang), so that AVX-512, AVX2, SSE and NEON come from this one source.

#include "cpu.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <type_traits>
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

// ---- Loops whose index is a constant in the body.

template <int... I, class F>
INLINE void each(std::integer_sequence<int, I...>, F&& body) {
    (body(std::integral_constant<int, I>{}), ...);
}

template <int N, class F>
INLINE void each(F&& body) {
    each(std::make_integer_sequence<int, N>{}, body);
}

// ---- The matrices of F(m, 3), by Cook's and Toom's formula from a - 1 points and infinity.

constexpr double POINTS[] = {0, 1, -1, 2, -2, 0.5, -0.5};

template <int M>
struct Tables {
    static constexpr int A = M + 2;
    double bt[A][A] = {}, g[A][3] = {}, at[M][A] = {};

    constexpr Tables() {
        for (int j = 0; j < A; j++) {  // the last row leaves no point out: infinity
            double poly[A + 1] = {1}, norm = 1;
            int degree = 0;
            for (int k = 0; k < A - 1; k++) {
                if (k == j) continue;
                degree++;
                for (int i = degree; i > 0; i--) poly[i] = poly[i - 1] - POINTS[k] * poly[i];
                poly[0] *= -POINTS[k];
                if (j < A - 1) norm *= POINTS[j] - POINTS[k];
            }
            for (int i = 0; i < A; i++) bt[j][i] = poly[i];
            double power = 1;
            for (int i = 0; i < std::max(M, 3); i++) {
                bool last = j == A - 1;
                if (i < 3) g[j][i] = last ? i == 2 : power / norm;
                if (i < M) at[i][j] = last ? i == M - 1 : power;
                power *= POINTS[j < A - 1 ? j : 0];
            }
        }
    }
};

template <int M>
constexpr Tables<M> TABLES{};

template <int M>
struct InputRows {  // Bᵀ, of the input
    static constexpr int rows = M + 2, columns = M + 2;
    static constexpr double at(int i, int j) { return TABLES<M>.bt[i][j]; }
};
template <int M>
struct OutputRows {  // Aᵀ, of the product
    static constexpr int rows = M, columns = M + 2;
    static constexpr double at(int i, int j) { return TABLES<M>.at[i][j]; }
};
template <int M>
struct WeightRows {  // G, of the weights
    static constexpr int rows = M + 2, columns = 3;
    static constexpr double at(int i, int j) { return TABLES<M>.g[i][j]; }
};
template <class Of>
struct Transposed {
    static constexpr int rows = Of::columns, columns = Of::rows;
    static constexpr double at(int i, int j) { return Of::at(j, i); }
};

// Points p and -p: row i + 1 is row i with every second sign turned (`by_rows`), or column j + 1 is column j so.
template <class T>
constexpr bool paired(int i, bool by_rows) {
    int count = by_rows ? T::rows : T::columns, length = by_rows ? T::columns : T::rows;
    if (i < 0 || i + 1 >= count) return false;
    for (int j = 0; j < length; j++) {
        double here = by_rows ? T::at(i, j) : T::at(j, i), next = by_rows ? T::at(i + 1, j) : T::at(j, i + 1);
        if (next != (j % 2 ? -here : here)) return false;
    }
    return true;
}

// sum + c·v with c a constant; the first term starts the sum.
template <class T, int I, int J, bool first>
INLINE Vec add(Vec sum, Vec v) {
    constexpr float c = static_cast<float>(T::at(I, J));
    if constexpr (first) return c == 1 ? v : v * c;
    if constexpr (c == 1) return sum + v;
    if constexpr (c == -1) return sum - v;
    return sum + v * c;
}

// The terms of row I over columns of one parity (2: all).
template <class T, int I, int parity>
INLINE Vec dot(const Vec* in) {
    Vec sum = {};
    constexpr auto used = [](int j) { return T::at(I, j) != 0 && (parity == 2 || j % 2 == parity); };
    constexpr int start = [used]() {
        for (int j = 0; j < T::columns; j++)
            if (used(j)) return j;
        return -1;
    }();
    each<T::columns>([&](auto j) IN_PLACE {
        if constexpr (used(j)) sum = add<T, I, j, j == start>(sum, in[j]);
    });
    return sum;
}

// out = T · in, a vector for each number.
template <class T>
INLINE void times(const Vec* in, Vec* out) {
    if constexpr (paired<T>(1, true)) {
        each<T::rows>([&](auto i) IN_PLACE {
            if constexpr (paired<T>(i, true) && i % 2 == 1) {
                Vec even = dot<T, i, 0>(in), odd = dot<T, i, 1>(in);
                out[i] = even + odd;
                out[i + 1] = even - odd;
            } else if constexpr (!(paired<T>(i - 1, true) && i % 2 == 0)) {
                out[i] = dot<T, i, 2>(in);
            }
        });
    } else if constexpr (paired<T>(1, false)) {
        Vec sums[T::columns], differences[T::columns];
        each<T::columns>([&](auto j) IN_PLACE {
            constexpr bool first = paired<T>(j, false) && j % 2 == 1, second = paired<T>(j - 1, false) && j % 2 == 0;
            if constexpr (first) {
                sums[j] = in[j] + in[j + 1];
                differences[j] = in[j] - in[j + 1];
            } else if constexpr (!second) {
                sums[j] = differences[j] = in[j];
            }
        });
        each<T::rows>([&](auto i) IN_PLACE {
            Vec sum = {};
            each<T::columns>([&](auto j) IN_PLACE {
                constexpr bool second = paired<T>(j - 1, false) && j % 2 == 0;
                if constexpr (!second && T::at(i, j) != 0)
                    sum = add<T, i, j, false>(sum, i % 2 ? differences[j] : sums[j]);
            });
            out[i] = sum;
        });
    } else {
        each<T::rows>([&](auto i) IN_PLACE { out[i] = dot<T, i, 2>(in); });
    }
}

// out(i, j) = (T · in · Tᵀ)(i, j); `in` gives a vector, `out` takes one.
template <class T, class In, class Out>
INLINE void both_sides(In&& in, Out&& out) {
    Vec half[T::rows][T::columns];
    for (int j = 0; j < T::columns; j++) {
        Vec column[T::columns], done[T::rows];
        each<T::columns>([&](auto i) IN_PLACE { column[i] = in(i, j); });
        times<T>(column, done);
        each<T::rows>([&](auto i) IN_PLACE { half[i][j] = done[i]; });
    }
    for (int i = 0; i < T::rows; i++) {
        Vec done[T::rows];
        times<T>(half[i], done);
        each<T::rows>([&](auto j) IN_PLACE { out(i, j, done[j]); });
    }
}

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

constexpr Index up(Index value, Index step) { return (value + step - 1) / step; }

// ---- One side of the convolution: maps (N, H, W, C) cut into tiles of M×M outputs.

struct Maps {
    const float* data;
    Index n, h, w, c;
};

struct Tiles {
    Index rows, columns, count;  // of a map, of a map, of all maps
    Tiles(Index n, Index h, Index w, Index m) : rows(up(h, m)), columns(up(w, m)), count(n * rows * columns) {}

    struct Place {
        Index map, row, column;
    };
    Place at(Index tile) const {
        return {tile / (rows * columns), tile / columns % rows, tile % columns};
    }
};

// Transforms tiles [from, to): pieces of SIDE×SIDE pixels that start at (M·ty - pad, M·tx - pad), zero outside the map.
// Of the groups [first, stop): frequency f of tile t, group g goes to out[f·slab + (g - first)·lane + (t - from)·L]. Lanes
// past the last channel hold anything.
template <int M, class T>
void transform(const Maps& x, const Tiles& tiles, Index pad, Index from, Index to, Index first, Index stop,
               const float* zeros, float* out, Index slab, Index lane) {
    constexpr int SIDE = T::columns, A = T::rows;
    const Index whole = x.c / L, rest = x.c % L, pixels = x.n * x.h * x.w;
    for (Index t = from; t < to; t++, out += L) {
        const auto [n, ty, tx] = tiles.at(t);
        const float* piece[SIDE][SIDE];
        Index last = 0;
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                Index row = ty * M - pad + i, column = tx * M - pad + j;
                bool inside = row >= 0 && row < x.h && column >= 0 && column < x.w;
                Index pixel = (n * x.h + row) * x.w + column;
                piece[i][j] = inside ? x.data + pixel * x.c : zeros;
                if (inside) last = pixel;
            }
        auto put = [&](Index group) {
            return [=](int i, int j, Vec v) IN_PLACE { store(out + (i * A + j) * slab + (group - first) * lane, v); };
        };
        for (Index g = first; g < std::min(stop, whole); g++)
            both_sides<T>([&](int i, int j) IN_PLACE { return load(piece[i][j] + g * L); }, put(g));
        if (!rest || stop <= whole) continue;
        if ((pixels - last) * x.c >= (whole + 1) * L)  // a whole vector may be read: it ends within the maps
            both_sides<T>([&](int i, int j) IN_PLACE { return load(piece[i][j] + whole * L); }, put(whole));
        else
            both_sides<T>([&](int i, int j) IN_PLACE { return load_first(piece[i][j] + whole * L, rest); }, put(whole));
    }
}

// ---- Weights (K, C, 3, 3), at any strides; `turned` by 180 degrees for the input's gradient.

struct Filters {
    float* data;
    Index k, c, per_k, per_c, per_row, per_column;
    bool turned;
    Index at(int i, int j) const { return turned ? (2 - i) * per_row + (2 - j) * per_column : i * per_row + j * per_column; }
};

// U of the groups of K in one group of L, for input channels [from, to).
template <int M>
void pack(const Filters& w, Index group, Index from, Index to, float* u, Index slab) {
    const Index first = group * L, lanes = std::min<Index>(L, w.k - first), groups = up(w.k, L);
    const Index wide = (group | 1) < groups ? 2 : 1;
    float* out = u + (group & ~Index(1)) * w.c * L + (group & 1) * L;
    for (Index c = from; c < to; c++) {
        float taps[3][3][L] = {};
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                const float* p = w.data + first * w.per_k + c * w.per_c + w.at(i, j);
                for (Index l = 0; l < lanes; l++) taps[i][j][l] = p[l * w.per_k];
            }
        both_sides<WeightRows<M>>([&](int i, int j) IN_PLACE { return load(taps[i][j]); },
                                  [&](int i, int j, Vec v) IN_PLACE { store(out + (i * (M + 2) + j) * slab + c * wide * L, v); });
    }
}

// ---- The products.

// m[p][r] = Σ_c a[r][c] · b[c][p] for R tiles and P groups of L outputs.
template <int R, int P>
INLINE void product(const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane) {
    Vec sum[R][P] = {};
    for (; channels > 0; channels -= L, a += lane) {
        const int count = static_cast<int>(std::min<Index>(channels, L));
#pragma GCC unroll 2
        for (int i = 0; i < count; i++, b += P * L) {
            Vec right[P];
            each<P>([&](auto p) IN_PLACE { right[p] = load(b + p * L); });
            each<R>([&](auto r) IN_PLACE {
                const float left = a[r * L + i];
                each<P>([&](auto p) IN_PLACE { sum[r][p] += right[p] * left; });
            });
        }
    }
    each<R>([&](auto r) IN_PLACE { each<P>([&](auto p) IN_PLACE { store(m + p * m_lane + r * L, sum[r][p]); }); });
}

template <int R, int P>
void rows_of(Index& from, Index to, const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane) {
    for (; from + R <= to; from += R) product<R, P>(a + from * L, lane, b, channels, m + from * L, m_lane);
}

template <int P>
void panel(Index tiles, const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane) {
    Index done = 0;
    rows_of<ROWS, P>(done, tiles, a, lane, b, channels, m, m_lane);
    rows_of<4, P>(done, tiles, a, lane, b, channels, m, m_lane);
    rows_of<1, P>(done, tiles, a, lane, b, channels, m, m_lane);
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
constexpr Index MOST_TILES = 48;         // of a block
constexpr Index GRAD_TILES = 24;         // of a block of the weights' gradient
constexpr Index GROUPS = 64 / L;                // of channels that are in work at once

template <int M>
int forward(const Maps& x, const Filters& w, const float* bias, float* y, Index pad, int threads) {
    constexpr int F = (M + 2) * (M + 2);
    const Index h = x.h + 2 * pad - 2, wide = x.w + 2 * pad - 2, groups = up(w.k, L), in_groups = up(x.c, L);
    const Tiles tiles(x.n, h, wide, M);
    const Index at_once = std::min<Index>(groups, GROUPS);
    // Weights that do not stay in cache are read anew for each block: it may then overflow for the sake of more tiles.
    const Index floats = CACHE / Index(sizeof(float)) * (F * w.k * w.c * Index(sizeof(float)) > CACHE ? 2 : 1);
    const Index fits = floats / (F * L * (in_groups + at_once)) / ROWS * ROWS;
    const Index even = up(up(tiles.count, 4 * threads), ROWS) * ROWS;
    const Index block = std::max<Index>(ROWS, std::min({fits, even, MOST_TILES}));
    const Index lane = (block + 1) * L, v_slab = in_groups * lane + L, m_slab = at_once * lane + L;
    const Index u_slab = groups * w.c * L + L, scratch = F * (v_slab + m_slab), zeros = in_groups * L;
    float* memory = arena.room(zeros + F * u_slab + threads * scratch);
    if (!memory) return 1;
    float *u = memory + zeros, *scratches = u + F * u_slab;
    std::fill(memory, memory + zeros, 0.f);
    struct Piece {
        float* data;
        Index high, wide;
    };
    auto outputs = [&](Index t) {  // of a tile, cut at the map's border
        const auto [n, ty, tx] = tiles.at(t);
        return Piece{y + ((n * h + ty * M) * wide + tx * M) * w.k, std::min<Index>(M, h - ty * M),
                     std::min<Index>(M, wide - tx * M)};
    };
    constexpr Index part = 16;  // input channels that a thread packs at a time
    const Index parts = up(w.c, part);
    divide(threads, groups * parts, [&](int, Index job) {
        Index from = job % parts * part;
        pack<M>(w, job / parts, from, std::min(from + part, w.c), u, u_slab);
    });
    divide(threads, up(tiles.count, block), [&](int worker, Index job) {
        float *v = scratches + worker * scratch, *m = v + F * v_slab;
        const Index from = job * block, to = std::min(from + block, tiles.count);
        transform<M, InputRows<M>>(x, tiles, pad, from, to, 0, in_groups, memory, v, v_slab, lane);
        for (Index start = 0; start < groups; start += at_once) {
            const Index stop = std::min(start + at_once, groups);
            for (int f = 0; f < F; f++) {
                // A share of the outputs' lines is called into the cache meanwhile, to be written without waiting.
                for (Index t = from + (to - from) * f / F; t < from + (to - from) * (f + 1) / F; t++) {
                    const Piece piece = outputs(t);
                    for (Index i = 0; i < piece.high; i++)
                        for (Index j = 0; j < piece.wide; j++)
                            for (Index g = start; g < stop; g++)
                                __builtin_prefetch(piece.data + (i * wide + j) * w.k + g * L, 1);
                }
                for (Index g = start; g < stop; g += 2) {
                    const float* b = u + f * u_slab + g * w.c * L;
                    float* out = m + f * m_slab + (g - start) * lane;
                    if (g + 1 < groups)
                        panel<2>(to - from, v + f * v_slab, lane, b, x.c, out, lane);
                    else
                        panel<1>(to - from, v + f * v_slab, lane, b, x.c, out, lane);
                }
            }
            for (Index t = from; t < to; t++) {
                const Piece piece = outputs(t);
                for (Index g = start; g < stop; g++) {
                    const Index lanes = std::min<Index>(L, w.k - g * L);
                    const Vec shift = bias ? load_first(bias + g * L, lanes) : Vec{};
                    const float* from_m = m + (g - start) * lane + (t - from) * L;
                    both_sides<OutputRows<M>>(
                        [&](int i, int j) IN_PLACE { return load(from_m + (i * (M + 2) + j) * m_slab); },
                        [&](int i, int j, Vec value) IN_PLACE {
                            if (i >= piece.high || j >= piece.wide) return;
                            float* p = piece.data + (i * wide + j) * w.k + g * L;
                            lanes == L ? store(p, value + shift) : store_first(p, value + shift, lanes);
                        });
                }
            }
        }
    });
    return 0;
}

// Cuts `groups` into pieces of at most GROUPS, as even as can be.
struct Pieces {
    Index groups, count, each;
    explicit Pieces(Index groups) : groups(groups), count(up(groups, GROUPS)), each(up(groups, count)) {}
    Index from(Index piece) const { return std::min(piece * each, groups); }
};

// Each job is a piece of the gradient, small enough for a thread's cache, over a part of the tiles. A piece is all tiles'
// where the pieces can be shared out evenly; else the parts are added up at the end, always in the same order.
template <int M>
int weight_gradient(const Maps& x, const Maps& dy, const Filters& dw, Index pad, int threads) {
    constexpr int F = (M + 2) * (M + 2);
    const Pieces ins(up(x.c, L)), outs(up(dy.c, L));
    const Tiles tiles(x.n, dy.h, dy.w, M);
    const Index pieces = ins.count * outs.count;
    const Index parts = pieces < 8 * threads ? threads / std::gcd<Index>(pieces, threads) : 1;
    const Index share = up(tiles.count, parts), d_lane = ins.each * L * L, d_slab = outs.each * d_lane + L;
    const Index block = std::clamp<Index>(share, 1, GRAD_TILES);
    const Index lane = (block + 1) * L, v_slab = ins.each * lane + L, z_slab = outs.each * lane + L;
    const Index scratch = F * (v_slab + z_slab), zeros = std::max(ins.groups, outs.groups) * L;
    float* memory = arena.room(zeros + threads * scratch + parts * pieces * F * d_slab);
    if (!memory) return 1;
    float *scratches = memory + zeros, *sums = scratches + threads * scratch;
    std::fill(memory, memory + zeros, 0.f);
    divide(threads, parts * pieces, [&](int worker, Index job) {
        const Index piece = job % pieces, part = job / pieces;
        const Index c0 = ins.from(piece / outs.count), c1 = ins.from(piece / outs.count + 1);
        const Index k0 = outs.from(piece % outs.count), k1 = outs.from(piece % outs.count + 1);
        const Index channels = std::min(c1 * L, x.c) - c0 * L, end = std::min((part + 1) * share, tiles.count);
        float *v = scratches + worker * scratch, *z = v + F * v_slab, *d = sums + job * F * d_slab;
        if (part * share >= end) std::fill(d, d + F * d_slab, 0.f);
        for (Index from = part * share; from < end; from += block) {
            const Index to = std::min(from + block, end);
            transform<M, InputRows<M>>(x, tiles, pad, from, to, c0, c1, memory, v, v_slab, lane);
            transform<M, Transposed<OutputRows<M>>>(dy, tiles, 0, from, to, k0, k1, memory, z, z_slab, lane);
            for (int f = 0; f < F; f++)
                for (Index g = 0; g < k1 - k0; g += 2)
                    for (Index c = 0; c < channels; c += GRAD_ROWS) {
                        const float* left = v + f * v_slab + c / L * lane + c % L;
                        const float* right = z + f * z_slab + g * lane;
                        float* out = d + f * d_slab + g * d_lane + c * L;
                        if (g + 1 < k1 - k0)
                            grad_product<GRAD_ROWS, 2>(left, right, lane, to - from, out, d_lane, from == part * share);
                        else
                            grad_product<GRAD_ROWS, 1>(left, right, lane, to - from, out, d_lane, from == part * share);
                    }
        }
    });
    divide(threads, ins.groups * outs.groups, [&](int, Index job) {
        const Index in = job / outs.groups, g = job % outs.groups, lanes = std::min<Index>(L, dy.c - g * L);
        const Index piece = in / ins.each * outs.count + g / outs.each;
        const float* d = sums + piece * F * d_slab + g % outs.each * d_lane + in % ins.each * L * L;
        for (Index c = 0; c < std::min<Index>(L, x.c - in * L); c++)
            both_sides<Transposed<WeightRows<M>>>(
                [&](int i, int j) IN_PLACE {
                    Vec sum = load(d + (i * (M + 2) + j) * d_slab + c * L);
                    for (Index part = 1; part < parts; part++)
                        sum += load(d + (part * pieces * F + i * (M + 2) + j) * d_slab + c * L);
                    return sum;
                },
                [&](int i, int j, Vec value) IN_PLACE {
                    float* p = dw.data + g * L * dw.per_k + (in * L + c) * dw.per_c + dw.at(i, j);
                    for (Index l = 0; l < lanes; l++) p[l * dw.per_k] = value[l];
                });
    });
    return 0;
}

// The size of tile that takes the fewest operations: products, transforms of both sides, transform of the weights.
int best_tile(Index n, Index h, Index w, Index c, Index k) {
    int best = 2;
    double least = 0;
    for (int m = 2; m <= 4; m++) {
        double tiles = double(Tiles(n, h, w, m).count), both = double(c) * double(k);
        double cost = (m + 2) * (m + 2) * (tiles * (both + 12. * double(c + k)) + 14 * both);
        if (m == 2 || cost < least) best = m, least = cost;
    }
    return best;
}

}  // namespace

extern "C" {

// The function GOMP_parallel of the OpenMP runtime whose threads to use; null for threads of our own.
void steepest_threads(void* function) {
    steepest::openmp = reinterpret_cast<steepest::OpenMP>(function);
}

// y (N, H + 2 pad - 2, W + 2 pad - 2, K) of x (N, H, W, C), both dense. w: (K, C, 3, 3) at the strides (in floats) given;
// turned: filters turned by 180 degrees. pad: 0 to 2. tile: 2 to 4, or 0 for the best. Gives 0, or 1 for want of memory.
int steepest_conv(const float* x, const float* w, const float* bias, float* y, Index n, Index h, Index wide, Index c,
                  Index k, const Index* strides, int turned, int pad, int tile, int threads) {
    const Maps maps{x, n, h, wide, c};
    const Filters filters{const_cast<float*>(w), k, c, strides[0], strides[1], strides[2], strides[3], turned != 0};
    switch (tile ? tile : best_tile(n, h + 2 * pad - 2, wide + 2 * pad - 2, c, k)) {
        case 2: return forward<2>(maps, filters, bias, y, pad, threads);
        case 3: return forward<3>(maps, filters, bias, y, pad, threads);
        default: return forward<4>(maps, filters, bias, y, pad, threads);
    }
}

// dw (K, C, 3, 3) at the strides given, of x (N, H, W, C) and dy (N, H + 2 pad - 2, W + 2 pad - 2, K).
int steepest_weight_gradient(const float* x, const float* dy, float* dw, Index n, Index h, Index wide, Index c, Index k,
                             const Index* strides, int pad, int tile, int threads) {
    const Maps maps{x, n, h, wide, c}, gradient{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k};
    const Filters filters{dw, k, c, strides[0], strides[1], strides[2], strides[3], false};
    switch (tile ? tile : best_tile(n, gradient.h, gradient.w, c, k)) {
        case 2: return weight_gradient<2>(maps, gradient, filters, pad, threads);
        case 3: return weight_gradient<3>(maps, gradient, filters, pad, threads);
        default: return weight_gradient<4>(maps, gradient, filters, pad, threads);
    }
}
}
