// Maps, the tiles into which they are cut, and a block of tiles on its way through a transform.

#pragma once

#include "half.h"
#include "winograd.h"

#include <array>

namespace {

// ---- Which of four pixels is the largest, from 0 to 3: 2 bits for each channel, each pixel's in words for 16 channels.

constexpr Index choice_bytes(Index channels) { return up(channels, 16) * 4; }

typedef std::int32_t Choice __attribute__((vector_size(L * sizeof(std::int32_t))));
using Packed = std::conditional_t<L == 16, std::uint32_t, std::conditional_t<L == 8, std::uint16_t, std::uint8_t>>;

// The bits of each lane, if all lanes chose `one`; for 4, which nobody can choose, others.
INLINE Choice bits(std::int32_t one) {
    Choice made;
    for (int l = 0; l < L; l++) made[l] = one < 4 ? std::int32_t(std::uint32_t(one) << 2 * l) : -1;
    return made;
}

struct Choices {
    Choice all[5] = {bits(0), bits(1), bits(2), bits(3), bits(4)}, mask = bits(3);

    // Which lanes of those packed at p have chosen `one`.
    INLINE Choice are(const std::uint8_t* p, int one) const {
        Packed packed;
        std::memcpy(&packed, p, sizeof packed);
        return ((Choice{} + std::int32_t(packed)) & mask) == all[one];
    }
};

// Packs what are bits(choice) in each lane.
INLINE void pack_choices(std::uint8_t* p, const Choice& chosen) {
    std::int32_t lanes[L];
    std::memcpy(lanes, &chosen, sizeof lanes);
    for (int step = L / 2; step; step /= 2)
        for (int l = 0; l < step; l++) lanes[l] |= lanes[l + step];
    const Packed packed = static_cast<Packed>(lanes[0]);
    std::memcpy(p, &packed, sizeof packed);
}

// ---- Maps (N, H, W, C). With `which`, data is the gradient of the largest of each 2×2 pixels, (N, H/2, W/2, C), and
// `which` says where each was: the maps' own numbers are that gradient there and 0 elsewhere.

template <class T>
struct Maps {
    const T* data;
    Index n, h, w, c;
    const std::uint8_t* which = nullptr;
    float scale = 1;  // by which products of halves multiply it

    // A piece of size×size pixels from (top, left) on.
    void call_into_cache(Index map, Index top, Index left, Index size) const {
        const Index step = which ? 2 : 1, high = h / step, wide = w / step;
        const Index from = std::max<Index>(0, left / step), to = std::min(wide, (left + size) / step);
        for (Index row = std::max<Index>(0, top / step); row < std::min(high, (top + size) / step); row++) {
            const Index at = (map * high + row) * wide;
            for (Index i = (at + from) * c; i < (at + to) * c; i += LINE / Index(sizeof(T))) __builtin_prefetch(data + i, 0, 2);
            if (!which) continue;
            const Index bytes = choice_bytes(c);
            for (Index i = (at + from) * bytes; i < (at + to) * bytes; i += LINE) __builtin_prefetch(which + i, 0, 2);
        }
    }
};

// A side of a map in long pieces, then short ones.
struct Cut {
    Index large, small, longs, count;
    Index start(Index piece) const { return large * piece - (large - small) * std::max<Index>(0, piece - longs); }
    Index size(Index piece) const { return piece < longs ? large : small; }
    Index products() const { return longs * (large + 2) + (count - longs) * (small + 2); }
};

// The cut with the fewest products; `only`: of pieces of that size alone, if they fit. even: no piece starts at an odd pixel.
template <class Family>
Cut cut(Index length, int only, bool even) {
    constexpr Index large = Family::LARGE, small = Family::SMALL;
    if (only == large || (only == small && !(even && small % 2)))
        return {large, small, only == large ? up(length, only) : 0, up(length, only)};
    Cut best{};
    for (Index shorts = 0; shorts <= (even && small % 2 ? 1 : large); shorts++) {
        const Index longs = up(std::max<Index>(0, length - small * shorts), large);
        const Cut one{large, small, longs, longs + shorts};
        if (!shorts || one.products() < best.products()) best = one;
    }
    return best;
}

// Maps of h×w outputs cut into tiles.
template <class Family_>
struct Tiles {
    using Family = Family_;
    Cut rows, columns;
    Index count, maps;
    Tiles(Index n, Index h, Index w, int only, bool even)
        : rows(cut<Family>(h, only, even)), columns(cut<Family>(w, only, even)), count(n * rows.count * columns.count), maps(n) {}

    Index a_map() const { return rows.count * columns.count; }
    // Of a pair of channels, what the transform of its weights costs included.
    Index cost() const { return maps * rows.products() * columns.products() + 16 * Family::FREQUENCIES; }
};

// Calls body(tiles) with the family of tiles that makes them cheapest; `only` 3 or 4: with tiles of that size alone, 6: with
// 6s and 4s.
template <class F>
int cheapest(Index n, Index h, Index w, int only, bool even, F&& body) {
    const Tiles<Family<4, 3>> small(n, h, w, only, even);
    const Tiles<Family<6, 4>> large(n, h, w, 0, even);
    return (only ? only == 6 : large.cost() < small.cost()) ? body(large) : body(small);
}

constexpr Index MOST_TILES = 128;  // of a block
constexpr Index NOWHERE = -1000;   // far outside any map

// Some of a block's tiles.
struct Range {
    Index from, end;
};

// Some tiles, those of one size together: large×small outputs, then large×large, small×large and small×small. So the
// tiles that have a frequency are one range, whichever it is. Each size has a multiple of `together` places, the last of
// which may stand for a piece of nothing.
template <class Family>
struct Block {
    struct Tile {
        Index map, row, column;  // of its first output
    } tiles[MOST_TILES + 4];
    Index starts[5] = {}, ends[4];

    Block(const Tiles<Family>& all, Index from, Index to, Index together = 1) {
        const Index a_map = all.a_map();
        auto size = [&](Index row, Index column) {
            return row < all.rows.longs ? Index(column < all.columns.longs) : 3 - (column < all.columns.longs);
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
            if (placing) continue;
            for (int i = 0; i < 4; i++) {
                ends[i] = starts[i] + starts[i + 1];
                starts[i + 1] = up(ends[i], together) * together;
                for (Index t = ends[i]; t < starts[i + 1]; t++) tiles[t] = {0, NOWHERE, NOWHERE};
            }
        }
    }

    // Calls the f-th of F shares of the tiles' pieces of x into the cache, for a later transform by `Of`.
    template <template <int, int> class Of, class T>
    void call_into_cache(const Maps<T>& x, Index pad, int f) const {
        constexpr int F = Family::FREQUENCIES, LARGE = Family::LARGE;
        for (Index t = starts[4] * f / F; t < starts[4] * (f + 1) / F; t++)
            x.call_into_cache(tiles[t].map, tiles[t].row - pad, tiles[t].column - pad, Of<LARGE, LARGE>::columns);
    }

    // The tiles that have this frequency.
    Index first(int f) const { return Family::shared(f % Family::SIDE) ? 0 : starts[1]; }
    Index last(int f) const {
        if (!Family::shared(f / Family::SIDE)) return starts[2];
        return starts[Family::shared(f % Family::SIDE) ? 4 : 3];
    }

    // body(height, width, first, last) for each size of tile that the range has.
    template <class F>
    INLINE void sizes(Range range, F&& body) const {
        using Large = std::integral_constant<int, Family::LARGE>;
        using Small = std::integral_constant<int, Family::SMALL>;
        auto one = [&](auto high, auto wide, int kind) IN_PLACE {
            const Index from = std::max(starts[kind], range.from), end = std::min(ends[kind], range.end);
            if (from < end) body(high, wide, from, end);
        };
        one(Large{}, Small{}, 0);
        one(Large{}, Large{}, 1);
        one(Small{}, Large{}, 2);
        one(Small{}, Small{}, 3);
    }
};

// Where the pixels of a piece of a map stand: outside the map `zeros`, or, of a pool's gradient, a choice that nobody made.
template <class T, int HIGH, int WIDE, bool pooled>
struct Piece {
    const T* pixel[HIGH][WIDE];
    const std::uint8_t* which[HIGH][pooled ? WIDE : 1];
    int choice[HIGH][pooled ? WIDE : 1];
    Index last = 0;  // of its pixels in memory

    void find(const Maps<T>& x, Index map, Index top, Index left, const T* zeros) {
        constexpr Index step = pooled ? 2 : 1;
        const Index h = x.h / step, w = x.w / step;
        for (int i = 0; i < HIGH; i++)
            for (int j = 0; j < WIDE; j++) {
                const Index row = top + i, column = left + j;
                const bool inside = row >= 0 && row < h * step && column >= 0 && column < w * step;
                const Index at = inside ? (map * h + row / step) * w + column / step : 0;
                pixel[i][j] = inside || pooled ? x.data + at * x.c : zeros;
                if constexpr (pooled) {
                    which[i][j] = x.which + at * choice_bytes(x.c);
                    choice[i][j] = inside ? row % 2 * 2 + column % 2 : 4;
                }
                if (inside) last = at;
            }
    }

    // A group of the channels of pixel (i, j); count: as many of them as there are.
    INLINE Vec read(int i, int j, Index group, Index count, const Choices& choices) const {
        const T* p = pixel[i][j] + group * L;
        const Vec value = count == L ? load(p) : load_few(p, count);
        if constexpr (!pooled) return value;
        return choices.are(which[i][j] + group * (L / 4), choice[i][j]) ? value : Vec{};
    }
};

template <class Family, template <int, int> class Of, bool pooled, int TOGETHER, class T, class Number>
void transform(const Maps<T>& x, const Block<Family>& block, Range range, Index pad, const float* zeros, Number* to, Index slab,
               Index lane, bool far = false) {
    constexpr int LARGE = Family::LARGE, PARTS = PAIR<Number>;
    const Index whole = x.c / WIDE<Number>, pixels = pooled ? x.n * (x.h / 2) * (x.w / 2) : x.n * x.h * x.w;
    const Choices choices;
    block.sizes(range, [&](auto high, auto wide, Index from, Index end) {
        using Rows = Of<LARGE, high>;
        using Columns = Of<LARGE, wide>;
        std::array<Piece<T, Rows::columns, Columns::columns, pooled>, TOGETHER> next;
        auto find = [&](Index t) {
            for (int i = 0; i < TOGETHER; i++) {
                const auto [map, row, column] = block.tiles[t + i];
                next[i].find(x, map, row - pad, column - pad, reinterpret_cast<const T*>(zeros));
            }
        };
        find(from);
        for (Index t = from; t < end; t += TOGETHER) {
            const auto pieces = next;
            if (t + TOGETHER < end) find(t + TOGETHER);
            // counts: of the channels of each part of a vector.
            auto group = [&](Index g, auto&& counts) IN_PLACE {
                auto one = [&](int which, auto&& done) IN_PLACE {
                    auto read = [&](int i, int j) IN_PLACE {
                        Vec parts[PARTS];
                        each<PARTS>([&](auto p) IN_PLACE {
                            const Index at = g * PARTS + p, count = counts(p);
                            __builtin_prefetch(next[which].pixel[i][j] + at * L);
                            parts[p] = count > 0 ? pieces[which].read(i, j, at, count, choices) : Vec{};
                        });
                        return joined(parts, x.scale, to);
                    };
                    both_sides<Rows, Columns>(read, done);
                };
                auto place = [&](int i, int j, Index at) IN_PLACE {
                    const int f = at_frequency<LARGE, high>(i) * Family::SIDE + at_frequency<LARGE, wide>(j);
                    return to + f * slab + at * lane;
                };
                if constexpr (TOGETHER == 1) {
                    one(0, [&](int i, int j, auto v) IN_PLACE {
                        Number* to_v = place(i, j, g) + t * WIDE<Number>;
                        store(to_v, v);
                        if (far) __builtin_prefetch(to_v + lane, 1);
                    });
                } else {
                    decltype(load(to)) before[Rows::rows][Columns::rows];
                    one(0, [&](int i, int j, auto v) IN_PLACE { before[i][j] = v; });
                    one(1, [&](int i, int j, auto v) IN_PLACE {
                        Number* to_v = place(i, j, 2 * g) + t * L;
                        store(to_v, pairs(first(before[i][j]), first(v)));
                        store(to_v + lane, pairs(second(before[i][j]), second(v)));
                        if (far) __builtin_prefetch(to_v + 2 * lane, 1);
                        if (far) __builtin_prefetch(to_v + 3 * lane, 1);
                    });
                }
            };
            for (Index g = 0; g < whole; g++) group(g, [](int) IN_PLACE { return std::integral_constant<Index, L>{}; });
            if (x.c % WIDE<Number> == 0) continue;
            // A whole vector may be read where it ends within the maps, though it has channels of the next pixel.
            Index last = 0, counts[PARTS];
            for (const auto& piece : pieces) last = std::max(last, piece.last);
            for (Index p = 0, at = whole * PARTS; p < PARTS; p++, at++)
                counts[p] = x.c <= at * L ? 0 : (pixels - last) * x.c < (at + 1) * L ? x.c - at * L : L;
            group(whole, [&](int p) IN_PLACE { return counts[p]; });
        }
    });
}

// Transforms the tiles of a block by `Of`: pieces that start `pad` pixels above and left of the first output, zero
// outside the map. Frequency f of tile t, group g of WIDE channels goes to to[f·slab + g·lane + t·WIDE]; of two tiles
// TOGETHER, group g of L to to[f·slab + g·lane + t·L], each number beside its like. Lanes past the last channel hold
// anything. far: `to` is not in the core's own cache, and each next line is called there before it is written.
template <template <int, int> class Of, int TOGETHER = 1, class T, class Family, class... Rest>
void transform(const Maps<T>& x, const Block<Family>& block, Range range, Rest... rest) {
    x.which ? transform<Family, Of, true, TOGETHER>(x, block, range, rest...)
            : transform<Family, Of, false, TOGETHER>(x, block, range, rest...);
}

}  // namespace
