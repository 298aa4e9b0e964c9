// A 3×3 stride-1 convolution for CPUs, forward and both gradients, by Winograd's method (A. Lavin, S. Gray, 2015,
// arXiv 1509.09308), float32, maps as (N, H, W, C).
//
// F(m×m, 3×3) makes m×m outputs of an a×a piece of the input, a = m + 2, with a² products a pair of channels in the
// place of 9m²: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A. Summed over input channels, each of the a² frequencies is a product of
// matrices: (tiles × C) times (C × K). A map's side is cut into 4s and 3s: 7 pixels take 36 + 30 + 30 + 25 products, where
// four tiles of 4×4 take 144. The points of F(3) are points of F(4), so that all tiles share the transformed weights and a
// frequency's product.
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

constexpr int LARGEST = 4, SIDE = LARGEST + 2, FREQUENCIES = SIDE * SIDE;
constexpr double POINTS[LARGEST + 1] = {0, 1, -1, 2, -2};

// F(3) leaves the last point out. The weights are transformed as for F(4) on either; what is then missing of F(3)'s own
// factors stands in Bᵀ.
template <int M>
struct Tables {
    static constexpr int A = M + 2;
    double bt[A][A] = {}, g[A][3] = {}, at[M][A] = {};

    constexpr Tables() {
        for (int j = 0; j < A; j++) {  // the last row leaves no point out: infinity
            const bool last = j == A - 1;
            double poly[A + 1] = {1}, norm = 1, missing = 1;
            int degree = 0;
            for (int k = 0; k <= LARGEST; k++) {
                if (k == j && !last) continue;
                if (!last) (k < A - 1 ? norm : missing) *= POINTS[j] - POINTS[k];
                if (k >= A - 1) continue;
                degree++;
                for (int i = degree; i > 0; i--) poly[i] = poly[i - 1] - POINTS[k] * poly[i];
                poly[0] *= -POINTS[k];
            }
            for (int i = 0; i < A; i++) bt[j][i] = poly[i] * missing;
            double power = 1;
            for (int i = 0; i < std::max(M, 3); i++) {
                if (i < 3) g[j][i] = last ? i == 2 : power / norm;
                if (i < M) at[i][j] = last ? i == M - 1 : power;
                power *= POINTS[last ? 0 : j];
            }
        }
    }
};

// Where frequency j of F(M) stands among those of F(4).
template <int M>
constexpr int place(int j) {
    return j == M + 1 ? LARGEST + 1 : j;
}

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

template <int M>
using GradientRows = Transposed<OutputRows<M>>;  // A, of the product's gradient

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

// out(i, j) = (Rows · in · Columnsᵀ)(i, j); `in` gives a vector, `out` takes one.
template <class Rows, class Columns, class In, class Out>
INLINE void both_sides(In&& in, Out&& out) {
    Vec half[Rows::rows][Columns::columns];
    for (int j = 0; j < Columns::columns; j++) {
        Vec column[Rows::columns], done[Rows::rows];
        each<Rows::columns>([&](auto i) IN_PLACE { column[i] = in(i, j); });
        times<Rows>(column, done);
        each<Rows::rows>([&](auto i) IN_PLACE { half[i][j] = done[i]; });
    }
    for (int i = 0; i < Rows::rows; i++) {
        Vec done[Columns::rows];
        times<Columns>(half[i], done);
        each<Columns::rows>([&](auto j) IN_PLACE { out(i, j, done[j]); });
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

// ---- Maps (N, H, W, C), and the tiles of outputs into which they are cut.

struct Maps {
    const float* data;
    Index n, h, w, c;
};

// A side of a map in pieces of 4 outputs, then pieces of 3.
struct Cut {
    Index fours, count;
    Index start(Index piece) const { return 4 * piece - std::max<Index>(0, piece - fours); }
};

// The cut with the fewest products, M + 2 a piece of M; `only` 3 or 4: of pieces of that size alone.
Cut cut(Index length, int only) {
    if (only) return {only == 4 ? up(length, 4) : 0, up(length, only)};
    Cut best{};
    for (Index threes = 0; threes <= 3; threes++) {
        const Index fours = up(std::max<Index>(0, length - 3 * threes), 4);
        const Cut one{fours, fours + threes};
        if (!threes || 5 * one.count + one.fours < 5 * best.count + best.fours) best = one;
    }
    return best;
}

constexpr Index MOST_TILES = 48;  // of a block

struct Tiles {
    Cut rows, columns;
    Index count;
    Tiles(Index n, Index h, Index w, int only) : rows(cut(h, only)), columns(cut(w, only)), count(n * rows.count * columns.count) {}
};

// Some tiles, those of one size together: 4×3 outputs, then 4×4, 3×4 and 3×3. So the tiles that have a frequency are
// one range, whichever it is.
struct Block {
    struct Tile {
        Index map, row, column;  // of its first output
    } tiles[MOST_TILES];
    Index starts[5] = {};

    Block(const Tiles& all, Index from, Index to) {
        const Index a_map = all.rows.count * all.columns.count;
        auto size = [&](Index row, Index column) {
            return row < all.rows.fours ? Index(column < all.columns.fours) : 3 - (column < all.columns.fours);
        };
        for (int placing = 0; placing < 2; placing++) {
            Index map = from / a_map, row = from % a_map / all.columns.count, column = from % all.columns.count;
            Index next[4] = {starts[0], starts[1], starts[2], starts[3]};
            for (Index t = from; t < to; t++) {
                const Index kind = size(row, column);
                if (placing)
                    tiles[next[kind]++] = {map, all.rows.start(row), all.columns.start(column)};
                else
                    starts[kind + 1]++;
                if (++column < all.columns.count) continue;
                column = 0;
                if (++row < all.rows.count) continue;
                row = 0;
                map++;
            }
            if (!placing)
                for (int i = 1; i < 5; i++) starts[i] += starts[i - 1];
        }
    }

    // The tiles that have this frequency.
    Index first(int f) const { return f % SIDE == LARGEST ? starts[1] : 0; }
    Index last(int f) const { return f / SIDE != LARGEST ? starts[f % SIDE == LARGEST ? 3 : 4] : starts[2]; }

    // body(height, width, first, last) for each size of tile.
    template <class F>
    INLINE void sizes(F&& body) const {
        using Four = std::integral_constant<int, 4>;
        using Three = std::integral_constant<int, 3>;
        if (starts[1] > starts[0]) body(Four{}, Three{}, starts[0], starts[1]);
        if (starts[2] > starts[1]) body(Four{}, Four{}, starts[1], starts[2]);
        if (starts[3] > starts[2]) body(Three{}, Four{}, starts[2], starts[3]);
        if (starts[4] > starts[3]) body(Three{}, Three{}, starts[3], starts[4]);
    }
};

// Transforms the tiles of a block by `Of`: pieces that start `pad` pixels above and left of the first output, zero
// outside the map. Of the groups [first, stop): frequency f of tile t, group g goes to
// out[f·slab + (g - first)·lane + t·L]. Lanes past the last channel hold anything.
template <template <int> class Of>
void transform(const Maps& x, const Block& block, Index pad, Index first, Index stop, const float* zeros, float* to,
               Index slab, Index lane) {
    const Index whole = x.c / L, rest = x.c % L, pixels = x.n * x.h * x.w;
    block.sizes([&](auto high, auto wide, Index from, Index end) {
        using Rows = Of<high>;
        using Columns = Of<wide>;
        const float* next[Rows::columns][Columns::columns];
        Index last = 0;
        auto find = [&](Index t) {
            const auto [n, top, left] = block.tiles[t];
            for (int i = 0; i < Rows::columns; i++)
                for (int j = 0; j < Columns::columns; j++) {
                    Index row = top - pad + i, column = left - pad + j;
                    bool inside = row >= 0 && row < x.h && column >= 0 && column < x.w;
                    Index pixel = (n * x.h + row) * x.w + column;
                    next[i][j] = inside ? x.data + pixel * x.c : zeros;
                    if (inside) last = pixel;
                }
        };
        find(from);
        for (Index t = from; t < end; t++) {
            const float* piece[Rows::columns][Columns::columns];
            std::memcpy(piece, next, sizeof piece);
            const Index after = pixels - last;
            if (t + 1 < end) find(t + 1);
            float* out = to + t * L;
            auto put = [&](Index group) {
                return [=](int i, int j, Vec v) IN_PLACE {
                    store(out + (place<high>(i) * SIDE + place<wide>(j)) * slab + (group - first) * lane, v);
                };
            };
            for (Index g = first; g < std::min(stop, whole); g++)
                both_sides<Rows, Columns>(
                    [&](int i, int j) IN_PLACE {
                        __builtin_prefetch(next[i][j] + g * L);
                        return load(piece[i][j] + g * L);
                    },
                    put(g));
            if (!rest || stop <= whole) continue;
            if (after * x.c >= (whole + 1) * L)  // a whole vector may be read: it ends within the maps
                both_sides<Rows, Columns>([&](int i, int j) IN_PLACE { return load(piece[i][j] + whole * L); }, put(whole));
            else
                both_sides<Rows, Columns>(
                    [&](int i, int j) IN_PLACE { return load_first(piece[i][j] + whole * L, rest); }, put(whole));
        }
    });
}

// ---- Weights (K, C, 3, 3), at any strides; `turned` by 180 degrees for the input's gradient.

struct Filters {
    float* data;
    Index k, c, per_k, per_c, per_row, per_column;
    bool turned;
    Index at(int i, int j) const { return turned ? (2 - i) * per_row + (2 - j) * per_column : i * per_row + j * per_column; }
};

// U of the groups of K in one group of L, for input channels [from, to).
template <class Used>
void pack(const Filters& w, Index group, Index from, Index to, const Used& used, float* u, Index slab) {
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
        both_sides<WeightRows<LARGEST>, WeightRows<LARGEST>>([&](int i, int j) IN_PLACE { return load(taps[i][j]); },
                                  [&](int i, int j, Vec v) IN_PLACE {
                                  if (used(i * SIDE + j)) store(out + (i * SIDE + j) * slab + c * wide * L, v);
                              });
    }
}

// ---- The products.

// m[p][r] = Σ_c a[r][c] · b[c][p] for R tiles and P groups of L outputs.
template <int R, int P>
void product(const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane) {
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

// All tiles' rows in register blocks as even as can be.
template <int P>
void panel(Index tiles, const float* a, Index lane, const float* b, Index channels, float* m, Index m_lane) {
    for (Index blocks = up(tiles, ROWS), rows; blocks; blocks--, tiles -= rows, a += rows * L, m += rows * L) {
        rows = up(tiles, blocks);
        each<ROWS>([&](auto r) IN_PLACE {
            if (rows == r + 1) product<r + 1, P>(a, lane, b, channels, m, m_lane);
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

int forward(const Maps& x, const Filters& w, const float* bias, float* y, Index pad, int only, int threads) {
    constexpr int F = FREQUENCIES;
    const Index h = x.h + 2 * pad - 2, wide = x.w + 2 * pad - 2, groups = up(w.k, L), in_groups = up(x.c, L);
    const Tiles tiles(x.n, h, wide, only);
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
    auto outputs = [&](const Block::Tile& tile) { return y + ((tile.map * h + tile.row) * wide + tile.column) * w.k; };
    auto used = [&](int f) {
        return (tiles.rows.fours || f / SIDE != LARGEST) && (tiles.columns.fours || f % SIDE != LARGEST);
    };
    constexpr Index part = 16;  // input channels that a thread packs at a time
    const Index parts = up(w.c, part);
    divide(threads, groups * parts, [&](int, Index job) {
        Index from = job % parts * part;
        pack(w, job / parts, from, std::min(from + part, w.c), used, u, u_slab);
    });
    divide(threads, up(tiles.count, block), [&](int worker, Index job) {
        float *v = scratches + worker * scratch, *m = v + F * v_slab;
        const Index count = std::min(block, tiles.count - job * block);
        const Block here(tiles, job * block, job * block + count);
        transform<InputRows>(x, here, pad, 0, in_groups, memory, v, v_slab, lane);
        for (Index start = 0; start < groups; start += at_once) {
            const Index stop = std::min(start + at_once, groups);
            for (int f = 0; f < F; f++) {
                // A share of the outputs' lines is called into the cache meanwhile, to be written without waiting.
                for (Index t = count * f / F; t < count * (f + 1) / F; t++) {
                    const Block::Tile& tile = here.tiles[t];
                    for (Index i = 0; i < std::min<Index>(LARGEST, h - tile.row); i++)
                        for (Index j = 0; j < std::min<Index>(LARGEST, wide - tile.column); j++)
                            for (Index g = start; g < stop; g++)
                                __builtin_prefetch(outputs(tile) + (i * wide + j) * w.k + g * L, 1);
                }
                const Index first = here.first(f), rows = here.last(f) - first;
                for (Index g = start; g < stop; g += 2) {
                    const float* a = v + f * v_slab + first * L;
                    const float* b = u + f * u_slab + g * w.c * L;
                    float* out = m + f * m_slab + (g - start) * lane + first * L;
                    if (g + 1 < groups)
                        panel<2>(rows, a, lane, b, x.c, out, lane);
                    else
                        panel<1>(rows, a, lane, b, x.c, out, lane);
                }
            }
            here.sizes([&](auto high, auto broad, Index from, Index end) {
                for (Index t = from; t < end; t++) {
                    const Block::Tile& tile = here.tiles[t];
                    float* to = outputs(tile);
                    const Index rows = h - tile.row, columns = wide - tile.column;
                    for (Index g = start; g < stop; g++) {
                        const Index lanes = std::min<Index>(L, w.k - g * L);
                        const Vec shift = bias ? load_first(bias + g * L, lanes) : Vec{};
                        const float* from_m = m + (g - start) * lane + t * L;
                        both_sides<OutputRows<high>, OutputRows<broad>>(
                            [&](int i, int j) IN_PLACE {
                                return load(from_m + (place<high>(i) * SIDE + place<broad>(j)) * m_slab);
                            },
                            [&](int i, int j, Vec value) IN_PLACE {
                                if (i >= rows || j >= columns) return;
                                float* p = to + (i * wide + j) * w.k + g * L;
                                lanes == L ? store(p, value + shift) : store_first(p, value + shift, lanes);
                            });
                    }
                }
            });
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
int weight_gradient(const Maps& x, const Maps& dy, const Filters& dw, Index pad, int only, int threads) {
    constexpr int F = FREQUENCIES;
    const Pieces ins(up(x.c, L)), outs(up(dy.c, L));
    const Tiles tiles(x.n, dy.h, dy.w, only);
    const Index pieces = ins.count * outs.count;
    const Index parts = pieces < 8 * threads ? threads / std::gcd<Index>(pieces, threads) : 1;
    const Index share = up(tiles.count, parts), d_lane = ins.each * L * L, d_slab = outs.each * d_lane + L;
    const Index block = std::clamp<Index>(share, 1, MOST_TILES);
    const Index lane = (block + 1) * L, v_slab = ins.each * lane + L, z_slab = outs.each * lane + L;
    const Index scratch = F * (v_slab + z_slab), zeros = std::max(ins.groups, outs.groups) * L;
    const bool whole = parts == 1;  // a thread then ends a piece while it lies in its cache
    float* memory = arena.room(zeros + threads * scratch + (whole ? threads : parts * pieces) * F * d_slab);
    if (!memory) return 1;
    float *scratches = memory + zeros, *sums = scratches + threads * scratch;
    std::fill(memory, memory + zeros, 0.f);
    // dw of one group of C and one of K, of the sums of their piece.
    auto finish = [&](Index in, Index g, const float* piece) {
        const Index lanes = std::min<Index>(L, dy.c - g * L), channels = std::min<Index>(L, x.c - in * L);
        const float* d = piece + g % outs.each * d_lane + in % ins.each * L * L;
        float taps[3][3][L][L];
        for (Index c = 0; c < channels; c++)
            both_sides<Transposed<WeightRows<LARGEST>>, Transposed<WeightRows<LARGEST>>>(
                [&](int i, int j) IN_PLACE {
                    Vec sum = load(d + (i * SIDE + j) * d_slab + c * L);
                    for (Index part = 1; part < parts; part++)
                        sum += load(d + (part * pieces * F + i * SIDE + j) * d_slab + c * L);
                    return sum;
                },
                [&](int i, int j, Vec value) IN_PLACE { store(taps[i][j][c], value); });
        for (Index l = 0; l < lanes; l++)
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++) {
                    float* p = dw.data + (g * L + l) * dw.per_k + in * L * dw.per_c + dw.at(i, j);
                    for (Index c = 0; c < channels; c++) p[c * dw.per_c] = taps[i][j][c][l];
                }
    };
    divide(threads, parts * pieces, [&](int worker, Index job) {
        const Index piece = job % pieces, part = job / pieces;
        const Index c0 = ins.from(piece / outs.count), c1 = ins.from(piece / outs.count + 1);
        const Index k0 = outs.from(piece % outs.count), k1 = outs.from(piece % outs.count + 1);
        const Index channels = std::min(c1 * L, x.c) - c0 * L, end = std::min((part + 1) * share, tiles.count);
        float *v = scratches + worker * scratch, *z = v + F * v_slab, *d = sums + (whole ? worker : job) * F * d_slab;
        if (part * share >= end) std::fill(d, d + F * d_slab, 0.f);
        for (Index from = part * share; from < end; from += block) {
            const Index to = std::min(from + block, end);
            const Block here(tiles, from, to);
            transform<InputRows>(x, here, pad, c0, c1, memory, v, v_slab, lane);
            transform<GradientRows>(dy, here, 0, k0, k1, memory, z, z_slab, lane);
            const bool fresh = from == part * share;
            for (int f = 0; f < F; f++) {
                const Index first = here.first(f), count = here.last(f) - first;
                if (!count && !fresh) continue;
                for (Index g = 0; g < k1 - k0; g += 2)
                    for (Index c = 0; c < channels; c += GRAD_ROWS) {
                        const float* left = v + f * v_slab + c / L * lane + c % L + first * L;
                        const float* right = z + f * z_slab + g * lane + first * L;
                        float* out = d + f * d_slab + g * d_lane + c * L;
                        if (g + 1 < k1 - k0)
                            grad_product<GRAD_ROWS, 2>(left, right, lane, count, out, d_lane, fresh);
                        else
                            grad_product<GRAD_ROWS, 1>(left, right, lane, count, out, d_lane, fresh);
                    }
            }
        }
        if (whole)
            for (Index in = c0; in < c1; in++)
                for (Index g = k0; g < k1; g++) finish(in, g, d);
    });
    if (whole) return 0;
    divide(threads, ins.groups * outs.groups, [&](int, Index job) {
        const Index in = job / outs.groups, g = job % outs.groups, piece = in / ins.each * outs.count + g / outs.each;
        finish(in, g, sums + piece * F * d_slab);
    });
    return 0;
}

}  // namespace

extern "C" {

// The function GOMP_parallel of the OpenMP runtime whose threads to use; null for threads of our own.
void steepest_threads(void* function) {
    steepest::openmp = reinterpret_cast<steepest::OpenMP>(function);
}

// y (N, H + 2 pad - 2, W + 2 pad - 2, K) of x (N, H, W, C), both dense. w: (K, C, 3, 3) at the strides (in floats) given;
// turned: filters turned by 180 degrees. pad: 0 to 2. tile: 3 or 4 for tiles of that size alone, 0 for the best
// cut. Gives 0, or 1 for want of memory.
int steepest_conv(const float* x, const float* w, const float* bias, float* y, Index n, Index h, Index wide, Index c,
                  Index k, const Index* strides, int turned, int pad, int tile, int threads) {
    const Maps maps{x, n, h, wide, c};
    const Filters filters{const_cast<float*>(w), k, c, strides[0], strides[1], strides[2], strides[3], turned != 0};
    return forward(maps, filters, bias, y, pad, tile, threads);
}

// dw (K, C, 3, 3) at the strides given, of x (N, H, W, C) and dy (N, H + 2 pad - 2, W + 2 pad - 2, K).
int steepest_weight_gradient(const float* x, const float* dy, float* dw, Index n, Index h, Index wide, Index c, Index k,
                             const Index* strides, int pad, int tile, int threads) {
    const Maps maps{x, n, h, wide, c}, gradient{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k};
    const Filters filters{dw, k, c, strides[0], strides[1], strides[2], strides[3], false};
    return weight_gradient(maps, gradient, filters, pad, tile, threads);
}
}
