// A 3×3 stride-1 convolution for CPUs, forward and both gradients, by Winograd's method (A. Lavin, S. Gray, 2015,
// arXiv 1509.09308), maps as (N, H, W, C), of a T: float32 or bfloat16. What lies between the maps, transformed, is of a
// Number: float32, or half (half.h), with maps and weights scaled by powers of two for it.
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
// Channels lie in groups of WIDE, the numbers of a vector: L floats or 2L halves. V, the transformed input:
// [frequency][group][tile][WIDE], so that the distance between two tiles of a product's rows is a constant. U, the
// transformed weights: [frequency][panel][C][2L], of halves [frequency][panel][C/2][2L][2]. For the weights' gradient,
// where tiles are summed over, both sides are of halves [frequency][group of L][tile/2][L][2].
// Vectors are the compiler's own (GCC, Clang), so that AVX-512, AVX2, SSE and NEON come from this one source.

#pragma once

#include "products.h"
#include "tiles.h"

namespace {

// ---- The passes.

constexpr Index CACHE = Index(1) << 20;  // bytes that a thread's block may fill: of a second-level cache
constexpr int TOO_LARGE = 2;  // what is given where halves did not suffice
constexpr Index GROUPS = 64 / L;         // of channels that are in work at once

// What a pass writes: maps (N, h, w, K), or the largest of each 2×2 of their pixels and, unless null, which of them it is.
template <class T>
struct Outputs {
    T* data;
    Index h, w, k;
    const float* bias = nullptr;
    bool pooled = false;
    std::uint8_t* which = nullptr;
    bool added = false;  // of pieces that overlap: to be added to what is there
    float scale = 1;     // by which products of halves are multiplied
    bool past = false;   // written past the caches

    Index step() const { return pooled ? 2 : 1; }
    // A pixel written, which lies within the maps or not.
    Index at(Index map, Index row, Index column) const { return (map * (h / step()) + row) * (w / step()) + column; }

    template <bool adding = false>
    INLINE void write(Index at, Vec value, Index group) const {
        const Index lanes = std::min<Index>(L, k - group * L);
        if (bias) value += load_first(bias + group * L, lanes);
        if (past) return stream(data + at, value);
        if (adding) value += lanes == L ? load(data + at) : load_few(data + at, lanes);
        lanes == L ? store(data + at, value) : store_first(data + at, value, lanes);
    }

    void call_into_cache(Index map, Index top, Index left, Index size, Index from, Index to) const {
        if (past) return;
        const Index s = step();
        for (Index i = std::max<Index>(0, top / s); i < std::min((top + size) / s, h / s); i++)
            for (Index j = std::max<Index>(0, left / s); j < std::min((left + size) / s, w / s); j++)
                for (Index g = from; g < to; g += LINE / Index(L * sizeof(T))) __builtin_prefetch(data + at(map, i, j) * k + g * L, 1);
    }

    // Transforms one tile's products, of the groups of outputs from `group` on that a vector has; its first pixel is (top, left).
    // Gives 0s if what was made of halves is finite.
    template <class Rows, class Columns, class In>
    INLINE Vec transform(Index map, Index top, Index left, Index group, In&& in) const {
        constexpr int PARTS = PAIR<Element<decltype(in(0, 0))>>;
        Vec lost = {};
        const auto each_pixel = [&](auto adding) IN_PLACE {
            const Index first = at(map, top, left) * k;
            both_sides<Rows, Columns>(in, [&](int i, int j, auto value) IN_PLACE {
                if (std::size_t(top + i) >= std::size_t(h) || std::size_t(left + j) >= std::size_t(w)) return;
                each<PARTS>([&](auto p) IN_PLACE {
                    const Index one = group + p;
                    if (one * L >= k) return;
                    const Vec found = PARTS > 1 ? part(value, p) * scale : part(value, p);
                    if (PARTS > 1) lost += found * 0;
                    write<adding>(first + (i * w + j) * k + one * L, found, one);
                });
            });
        };
        if constexpr (Rows::rows == Rows::columns) {  // pieces of an input's gradient
            added ? each_pixel(std::true_type{}) : each_pixel(std::false_type{});
        } else {
            pooled ? largest<Rows, Columns>(map, top, left, group, lost, in) : each_pixel(std::false_type{});
        }
        return lost;
    }

    template <class Rows, class Columns, class In>
    INLINE void largest(Index map, Index top, Index left, Index group, Vec& lost, In&& in) const {
        using V = decltype(in(0, 0));
        constexpr int PARTS = PAIR<Element<V>>;
        V all[Rows::rows][Columns::rows];
        both_sides<Rows, Columns>(in, [&](int i, int j, auto value) IN_PLACE { all[i][j] = value; });
        for (int i = 0; i + 1 < std::min<Index>(Rows::rows, h - top); i += 2)
            for (int j = 0; j + 1 < std::min<Index>(Columns::rows, w - left); j += 2)
                each<PARTS>([&](auto p) IN_PLACE {
                    const Index here = group + p;
                    if (here * L >= k) return;
                    Vec best = part(all[i][j], p);
                    Choice choice = {};
                    if (PARTS > 1) lost += best * 0;
                    for (int one = 1; one < 4; one++) {
                        const Vec next = part(all[i + one / 2][j + one % 2], p);
                        if (PARTS > 1) lost += next * 0;
                        const Choice larger = (next > best) | (next != next);  // nan is the largest
                        best = larger ? next : best;
                        choice = larger ? bits(one) : choice;
                    }
                    const Index pixel = at(map, (top + i) / 2, (left + j) / 2);
                    write(pixel * k + here * L, PARTS > 1 ? best * scale : best, here);
                    if (which) pack_choices(which + pixel * choice_bytes(k) + here * (L / 4), choice);
                });
    }
};

// Transforms x by In, multiplies by the weights, and transforms to y by Out, whose tiles start `before` pixels above and
// left of theirs. Gives 0, 1 for want of memory, or TOO_LARGE where a product of halves, or a sum, is not finite.
template <class Number, template <int, int> class In, template <int, int> class Out, class T, class Family>
int pass(const Maps<T>& x, const Filters& w, Outputs<T> y, const Tiles<Family>& tiles, Index pad, Index before, int threads) {
    constexpr int F = Family::FREQUENCIES, LARGE = Family::LARGE, SIDE = Family::SIDE;
    constexpr int PARTS = PAIR<Number>, WIDTH = WIDE<Number>;
    // Groups of L outputs; what is transformed lies in groups of WIDTH channels.
    const Index groups = up(w.k, L), in_groups = up(x.c, WIDTH);
    const Index at_once = std::min<Index>(up(groups, PARTS) * PARTS, GROUPS);
    const Index numbers = CACHE / Index(sizeof(Number));
    // Weights that do not stay in cache are read anew for each block: it may then overflow for the sake of more tiles, 24 of
    // 64 frequencies.
    const Index least = F * w.k * w.c > numbers ? 24 * 64 / F / ROWS * ROWS : ROWS;
    const Index fits = std::max(least, numbers / (F * (WIDTH * in_groups + L * at_once)) / ROWS * ROWS);
    const Index even = up(up(tiles.count, 4 * threads), ROWS) * ROWS;
    const Index a_map = y.added ? tiles.a_map() : 1;
    const Index most = std::min({fits, std::max<Index>(even, ROWS), MOST_TILES}) / a_map * a_map;
    const Index all = std::max<Index>(1, tiles.count), blocks = up(up(all, most), threads) * threads;  // as many for each
    const Index block = up(up(all, blocks), a_map) * a_map;
    constexpr Index line = LINE / sizeof(Number);
    const Index lane = (block + 1) * WIDTH, v_slab = in_groups * lane + line, m_slab = at_once / PARTS * lane + line;
    const Index u_slab = groups * w.c * L + line, scratch = F * (v_slab + m_slab);
    auto [zeros, u] = room<Number>(in_groups * PARTS, F * u_slab + threads * scratch);
    if (!u) return 1;
    Number* scratches = u + F * u_slab;
    y.scale = 1 / (x.scale * w.scale);
    y.past = !y.added && streams(y.data, x.n * (y.h / y.step()) * (y.w / y.step()) * y.k, y.k);
    auto used = [&](int f) {
        return (tiles.rows.longs || Family::shared(f / SIDE)) && (tiles.columns.longs || Family::shared(f % SIDE));
    };
    const Index parts = up(w.c, PART);
    divide(threads, up(groups, 2) * parts, [&](int, Index job) {
        const Index from = job % parts * PART;
        pack<Family>(w, job / parts * 2, from, std::min(from + PART, w.c), used, u, u_slab);
    });
    std::atomic<int> status{0};
    divide_ahead(threads, up(tiles.count, block), [&](int worker, Index job, Index after) {
        Vec lost = {};
        Number *v = scratches + worker * scratch, *m = v + F * v_slab;
        const Index count = std::min(block, tiles.count - job * block);
        const Block here(tiles, job * block, job * block + count);
        const Block next(tiles, std::min(after * block, tiles.count), std::min((after + 1) * block, tiles.count));
        if (y.added) {
            const Index one = y.h * y.w * y.k, from = job * block / a_map;
            std::fill(y.data + from * one, y.data + (from + count / a_map) * one, T{});
        }
        transform<In>(x, here, {0, count}, pad, zeros, v, v_slab, lane);
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
                    const Number* a = v + f * v_slab + first * WIDTH;
                    const Number* b = u + f * u_slab + g * w.c * L;
                    const Number* ahead = g + 2 < stop ? b + 2 * w.c * L : b + u_slab - (g - start) * w.c * L;
                    Number* out = m + f * m_slab + (g - start) / PARTS * lane + first * WIDTH;
                    if (g + 1 < groups)
                        panel<2>(rows, a, lane, b, x.c, out, lane, ahead);
                    else
                        panel<1>(rows, a, lane, b, x.c, out, lane, ahead);
                }
            }
            here.sizes({0, count}, [&](auto high, auto wide, Index from, Index end) {
                for (Index t = from; t < end; t++) {
                    const auto [map, row, column] = here.tiles[t];
                    for (Index g = start; g < stop; g += PARTS) {
                        const Number* from_m = m + (g - start) / PARTS * lane + t * WIDTH;
                        lost += y.template transform<Out<LARGE, high>, Out<LARGE, wide>>(map, row - before, column - before, g, [&](int i, int j) IN_PLACE {
                            return load(from_m + (at_frequency<LARGE, high>(i) * SIDE + at_frequency<LARGE, wide>(j)) * m_slab);
                        });
                    }
                }
            });
        }
        if (!finite(lost)) status = TOO_LARGE;
    });
    return status;
}

// With the scales that leave products of halves far from the largest half, and the smallest: of maps a mean size of 1/128,
// of weights 1. Some hundred pixels and thousand weights are looked at.
template <class Number, class T>
Maps<T> scaled(Maps<T> x) {
    if (PAIR<Number> == 1) return x;
    const Index step = x.which ? 2 : 1, pixels = x.n * (x.h / step) * (x.w / step);
    x.scale = scale_to(1.f / 128, x.data, pixels, x.c, pixels / 256 | 1);
    return x;
}

template <class Number>
Filters scaled(Filters w) {
    if (PAIR<Number> == 1) return w;
    // Dense in memory, in whichever order.
    const Index count = w.k * w.c * 9;
    w.scale = scale_to(1, w.data, count, 1, count / 1024 | 1);
    return w;
}

template <class Number, class T>
int forward(const Maps<T>& x, const Filters& w, const Outputs<T>& y, Index pad, int only, int threads) {
    const Index step = y.step();
    return cheapest(x.n, y.h / step * step, y.w / step * step, only, y.pooled, [&](const auto& tiles) {
        return pass<Number, InputRows, OutputRows>(x, w, y, tiles, pad, 0, threads);
    });
}

// dx of dy. w: with the channels exchanged, and not yet turned.
template <class Number, class T>
int input_gradient(const Maps<T>& dy, Filters w, Outputs<T> dx, Index pad, int only, int threads) {
    const Index step = dy.which ? 2 : 1;
    // A tile of all outputs that matter has all pixels of the input that do, and all others are 0.
    auto whole = [&](const Cut& cut, Index length) { return cut.count == 1 && cut.size(0) + 2 - pad >= length; };
    return cheapest(dy.n, dy.h / step * step, dy.w / step * step, only, dy.which != nullptr, [&](const auto& tiles) {
        return cheapest(dy.n, dx.h, dx.w, only, false, [&](const auto& others) {
            dx.added = !whole(tiles.rows, dx.h) || !whole(tiles.columns, dx.w);
            if (!dx.added || (tiles.cost() < others.cost() && tiles.a_map() <= ROWS))
                return pass<Number, GradientRows, SpreadRows>(dy, w, dx, tiles, 0, pad, threads);
            dx.added = false;
            w.turned = true;
            return pass<Number, InputRows, OutputRows>(dy, w, dx, others, 2 - pad, 0, threads);
        });
    });
}

// A gradient that fits into a thread's cache each thread sums over a part of the tiles, in blocks that fit there too; the
// parts are added up at the end, always in the same order. A larger one is one part, of which all threads transform a block
// and then divide the frequencies.
template <class Number, class T, class Family>
int weight_gradient(const Maps<T>& x, const Maps<T>& dy, const Filters& dw, const Tiles<Family>& tiles, Index pad, int threads) {
    constexpr int F = Family::FREQUENCIES, TWO = PAIR<Number>;
    using G = Transposed<WeightRows<Family::LARGE>>;
    // Transformed in groups of WIDE channels, each of which is as many groups of L.
    const Index ins = up(x.c, WIDE<Number>) * TWO, outs = up(dy.c, WIDE<Number>) * TWO, d_lane = ins * L * L, d_slab = outs * d_lane + L;
    const bool shared = F * outs * d_lane * Index(sizeof(float)) > CACHE;
    const Index parts = shared ? 1 : threads, share = std::max<Index>(1, up(tiles.count, parts));
    const Index fits = (shared ? 8 : 1) * CACHE / Index(sizeof(Number)) / (F * L * (ins + outs));
    const Index block = up(share, up(share, std::clamp<Index>(fits, 8, MOST_TILES)));
    constexpr Index line = LINE / sizeof(Number);
    // With halves each of four sizes of tile may have one place more.
    const Index lane = (TWO == 1 ? block + 1 : up(block, TWO) * TWO + 3 * TWO) * L;
    const Index v_slab = ins * lane + line, z_slab = outs * lane + line, scratch = F * (v_slab + z_slab);
    auto [zeros, numbers] = room<Number>(std::max(ins, outs), parts * (scratch + F * d_slab * TWO));
    if (!numbers) return 1;
    float* sums = reinterpret_cast<float*>(numbers + parts * scratch);
    auto sum = [&](Index part, int team) {
        float* d = sums + part * F * d_slab;
        Number *v = numbers + part * scratch, *z = v + F * v_slab;
        const Index start = std::min(part * share, tiles.count), end = std::min(start + share, tiles.count);
        for (Index from = start; from == start || from < end; from += block) {
            const Block here(tiles, from, std::min(from + block, end), TWO);
            const Index count = here.starts[4], piece = team > 1 ? 8 : std::max<Index>(count, 1);
            divide(team, up(count, piece), [&](int, Index job) {
                const Range range{job * piece, std::min((job + 1) * piece, count)};
                transform<InputRows, TWO>(x, here, range, pad, zeros, v, v_slab, lane, shared);
                transform<GradientRows, TWO>(dy, here, range, Index(0), zeros, z, z_slab, lane, shared);
            });
            const Block next(tiles, std::min(from + block, end), std::min(from + 2 * block, end));
            divide(team, F, [&](int, Index f) {
                next.template call_into_cache<InputRows>(x, pad, f);
                next.template call_into_cache<GradientRows>(dy, 0, f);
                const Index first = here.first(f), rows = here.last(f) - first;
                if (!rows && from > start) return;
                for (Index g = 0; g < outs; g += 2)
                    for (Index c = 0; c < x.c; c += GRAD_ROWS) {
                        const Number* left = v + f * v_slab + c / L * lane + c % L * TWO + first * L;
                        const Number* right = z + f * z_slab + g * lane + first * L;
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
    std::atomic<int> status{0};
    divide(threads, ins * outs, [&](int, Index job) {
        Vec lost = {};
        const Index in = job / outs, g = job % outs;
        const Index lanes = std::min<Index>(L, dy.c - g * L), channels = std::min<Index>(L, x.c - in * L);
        const float* d = sums + g * d_lane + in * L * L;
        const float scale = 1 / (x.scale * dy.scale);
        float taps[3][3][L][L];
        for (Index c = 0; c < channels; c++)
            both_sides<G, G>(
                [&](int i, int j) IN_PLACE {
                    const float* p = d + (i * Family::SIDE + j) * d_slab + c * L;
                    Vec sum = load(p);
                    for (Index part = 1; part < parts; part++) sum += load(p + part * F * d_slab);
                    return TWO == 1 ? sum : sum * scale;
                },
                [&](int i, int j, Vec value) IN_PLACE {
                    if (TWO > 1) lost += value * 0;
                    store(taps[i][j][c], value);
                });
        for (Index l = 0; l < lanes; l++)
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 3; j++) {
                    float* p = dw.data + (g * L + l) * dw.per_k + in * L * dw.per_c + dw.at(i, j);
                    for (Index c = 0; c < channels; c++) p[c * dw.per_c] = taps[i][j][c][l];
                }
        if (!finite(lost)) status = TOO_LARGE;
    });
    return status;
}

// ---- The three as they are called: of maps and weights at their addresses.

template <class Number, class T>
int conv(const T* x, const float* w, const float* bias, T* y, std::uint8_t* which, Index n, Index h, Index wide, Index c,
         Index k, const Index* strides, int pad, int pool, int tile, int threads) {
    const auto maps = scaled<Number>(Maps<T>{x, n, h, wide, c});
    const Filters filters = scaled<Number>({const_cast<float*>(w), k, c, strides[0], strides[1], strides[2], strides[3], false});
    const Outputs<T> outputs{y, h + 2 * pad - 2, wide + 2 * pad - 2, k, bias, pool != 0, which};
    return forward<Number>(maps, filters, outputs, pad, tile, threads);
}

template <class Number, class T>
int conv_input_gradient(const T* dy, const std::uint8_t* which, const float* w, T* dx, Index n, Index h, Index wide, Index c,
                        Index k, const Index* strides, int pad, int tile, int threads) {
    const auto gradient = scaled<Number>(Maps<T>{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k, which});
    const Filters filters = scaled<Number>({const_cast<float*>(w), c, k, strides[1], strides[0], strides[2], strides[3], false});
    return input_gradient<Number>(gradient, filters, Outputs<T>{dx, h, wide, c}, pad, tile, threads);
}

template <class Number, class T>
int conv_weight_gradient(const T* x, const T* dy, const std::uint8_t* which, float* dw, Index n, Index h, Index wide, Index c,
                         Index k, const Index* strides, int pad, int tile, int threads) {
    const auto maps = scaled<Number>(Maps<T>{x, n, h, wide, c});
    const auto gradient = scaled<Number>(Maps<T>{dy, n, h + 2 * pad - 2, wide + 2 * pad - 2, k, which});
    const Filters filters{dw, k, c, strides[0], strides[1], strides[2], strides[3], false};
    const Index step = which ? 2 : 1;
    return cheapest(n, gradient.h / step * step, gradient.w / step * step, tile, which != nullptr, [&](const auto& tiles) {
        return weight_gradient<Number>(maps, gradient, filters, tiles, pad, threads);
    });
}

}  // namespace
