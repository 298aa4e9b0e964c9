// The transforms of F(m×m, 3×3), and the vectors' way through them.

#pragma once

#include "cpu.h"

#include <type_traits>

namespace {

// ---- The matrices of F(m, 3), by Cook's and Toom's formula from m + 1 points and infinity.

constexpr double POINTS[] = {0, 1, -1, 2, -2, 0.5, -0.5};

// The sizes of tile that one transform of the weights serves: F(LARGE) and F(SMALL), whose points are among F(LARGE)'s.
template <int LARGE_, int SMALL_>
struct Family {
    static constexpr int LARGE = LARGE_, SMALL = SMALL_, SIDE = LARGE + 2, FREQUENCIES = SIDE * SIDE;
    // Whether F(SMALL) has frequency i, of F(LARGE)'s.
    static constexpr bool shared(int i) { return i <= SMALL || i > LARGE; }
};

// F(M)'s, which leaves points of F(LARGE) out. The weights are transformed as for F(LARGE) on either; what is then missing
// of F(M)'s own factors stands in Bᵀ.
template <int LARGE, int M>
struct Tables {
    static constexpr int A = M + 2;
    double bt[A][A] = {}, g[A][3] = {}, at[M][A] = {};

    constexpr Tables() {
        for (int j = 0; j < A; j++) {  // the last row leaves no point out: infinity
            const bool last = j == A - 1;
            double poly[A + 1] = {1}, norm = 1, missing = 1;
            int degree = 0;
            for (int k = 0; k <= LARGE; k++) {
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

// Where frequency j of F(M) stands among those of F(LARGE).
template <int LARGE, int M>
constexpr int at_frequency(int j) {
    return j == M + 1 ? LARGE + 1 : j;
}

template <int LARGE, int M>
constexpr Tables<LARGE, M> TABLES{};

template <int LARGE, int M>
struct InputRows {  // Bᵀ, of the input
    static constexpr int rows = M + 2, columns = M + 2;
    static constexpr double at(int i, int j) { return TABLES<LARGE, M>.bt[i][j]; }
};
template <int LARGE, int M>
struct OutputRows {  // Aᵀ, of the product
    static constexpr int rows = M, columns = M + 2;
    static constexpr double at(int i, int j) { return TABLES<LARGE, M>.at[i][j]; }
};
template <int LARGE>
struct WeightRows {  // G, of the weights
    static constexpr int rows = LARGE + 2, columns = 3;
    static constexpr double at(int i, int j) { return TABLES<LARGE, LARGE>.g[i][j]; }
};
template <class Of>
struct Transposed {
    static constexpr int rows = Of::columns, columns = Of::rows;
    static constexpr double at(int i, int j) { return Of::at(j, i); }
};

template <int LARGE, int M>
using GradientRows = Transposed<OutputRows<LARGE, M>>;  // A, of the product's gradient
template <int LARGE, int M>
using SpreadRows = Transposed<InputRows<LARGE, M>>;  // B, of the input's gradient

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

template <class V>
using Element = std::decay_t<decltype(std::declval<V>()[0])>;

// sum + c·v with c a constant; the first term starts the sum.
template <class T, int I, int J, bool first, class V>
INLINE V add(V sum, V v) {
    constexpr Element<V> c = static_cast<Element<V>>(T::at(I, J));
    if constexpr (first) return c == 1 ? v : v * c;
    if constexpr (c == 1) return sum + v;
    if constexpr (c == -1) return sum - v;
    return sum + v * c;
}

// The terms of row I over columns of one parity (2: all).
template <class T, int I, int parity, class V>
INLINE V dot(const V* in) {
    V sum = {};
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
template <class T, class V>
INLINE void times(const V* in, V* out) {
    if constexpr (paired<T>(1, true)) {
        each<T::rows>([&](auto i) IN_PLACE {
            if constexpr (paired<T>(i, true) && i % 2 == 1) {
                V even = dot<T, i, 0>(in), odd = dot<T, i, 1>(in);
                out[i] = even + odd;
                out[i + 1] = even - odd;
            } else if constexpr (!(paired<T>(i - 1, true) && i % 2 == 0)) {
                out[i] = dot<T, i, 2>(in);
            }
        });
    } else if constexpr (paired<T>(1, false)) {
        V sums[T::columns], differences[T::columns];
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
            V sum = {};
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
    using V = decltype(in(0, 0));
    V half[Rows::rows][Columns::columns];
    for (int j = 0; j < Columns::columns; j++) {
        V column[Rows::columns], done[Rows::rows];
        each<Rows::columns>([&](auto i) IN_PLACE { column[i] = in(i, j); });
        times<Rows>(column, done);
        each<Rows::rows>([&](auto i) IN_PLACE { half[i][j] = done[i]; });
    }
    for (int i = 0; i < Rows::rows; i++) {
        V done[Columns::rows];
        times<Columns>(half[i], done);
        each<Columns::rows>([&](auto j) IN_PLACE { out(i, j, done[j]); });
    }
}

}  // namespace
