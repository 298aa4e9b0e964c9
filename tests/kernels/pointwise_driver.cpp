// Runs the compiled pool, norm, activations and convolution of images over small shapes on buffers of the exact size, next to plain loops in
// double, for the sanitizers. Ends with 1 where a result is off.

#include "image_conv.cpp"
#include "pointwise.cpp"
#include "pool.cpp"

#include <cstdio>

#include "numbers.h"

namespace {

template <class T>
bool close(const std::vector<T>& ours, const std::vector<double>& exact) {
    return within(std::vector<float>(ours.begin(), ours.end()), exact, sizeof(T) < sizeof(float) ? 1e-2 : 5e-5, 1);
}

double gelu(double z) { return z * std::erfc(-z / std::sqrt(2.)) / 2; }
double gelu_slope(double z) { return std::erfc(-z / std::sqrt(2.)) / 2 + z * std::exp(-z * z / 2) * 0.3989422804014327; }

// Batch norm and GELU, of maps of an X, giving maps of a Y.
template <class X, class Y>
bool norm_right(Index rows, Index c, int threads) {
    const int halved = (sizeof(X) < sizeof(float)) + (sizeof(Y) < sizeof(float));
    const std::vector<X> x = maps<X>(numbers(rows * c));
    const std::vector<Y> dy = maps<Y>(numbers(rows * c));
    const std::vector<float> weight = numbers(c), bias = numbers(c);
    std::vector<X> dx(x.size());
    std::vector<Y> y(x.size());
    std::vector<float> mean(c), variance(c), saved(3 * c), d_weight(c), d_bias(c);
    std::vector<double> exact_y(x.size()), exact_dx(x.size()), exact_weight(c), exact_bias(c);
    for (Index v = 0; v < c; v++) {
        double m = 0, s = 0;
        for (Index i = v; i < rows * c; i += c) m += x[i] / double(rows);
        for (Index i = v; i < rows * c; i += c) s += (x[i] - m) * (x[i] - m) / double(rows);
        const double over = 1 / std::sqrt(s + 1e-3);
        auto normal = [&](Index i) { return (x[i] - m) * over; };
        auto slope = [&](Index i) { return dy[i] * gelu_slope(normal(i) * weight[v] + bias[v]); };
        for (Index i = v; i < rows * c; i += c) {
            exact_y[i] = gelu(normal(i) * weight[v] + bias[v]);
            exact_bias[v] += slope(i);
            exact_weight[v] += slope(i) * normal(i);
        }
        for (Index i = v; i < rows * c; i += c)
            exact_dx[i] = weight[v] * over * (slope(i) - (exact_bias[v] + normal(i) * exact_weight[v]) / double(rows));
    }
    steepest_norm(x.data(), y.data(), halved, rows, c, weight.data(), bias.data(), mean.data(), variance.data(), saved.data(), 0.1,
                  1e-3, 1, 3, 0, threads);
    steepest_norm_backward(x.data(), dy.data(), dx.data(), halved, rows, c, weight.data(), bias.data(), saved.data(),
                           d_weight.data(), d_bias.data(), 3, 0, threads);
    return close(y, exact_y) && close(dx, exact_dx) && close(d_weight, exact_weight) && close(d_bias, exact_bias);
}

bool activation_right(Index total, int threads) {
    const std::vector<float> x = numbers(total), dy = numbers(total);
    for (int kind = 0; kind < 7; kind++) {
        std::vector<float> y(total), dx(total);
        steepest_activation(x.data(), y.data(), total, kind, 0.5, threads);
        steepest_activation_backward(x.data(), dy.data(), dx.data(), total, kind, 0.5, threads);
        for (Index i = 0; i < total; i++)
            if (kind == 3 && std::abs(y[i] - gelu(x[i])) + std::abs(dx[i] - dy[i] * gelu_slope(x[i])) > 1e-5) return false;
    }
    return true;
}

bool pool_right(Index n, Index h, Index w, Index c, int threads) {
    const Index outs = n * (h / 2) * (w / 2) * c;
    const std::vector<float> x = numbers(n * h * w * c), dy = numbers(outs);
    std::vector<float> y(outs), dx(x.size(), 7.f);
    std::vector<double> exact_y(outs), exact_dx(x.size());
    std::vector<std::uint8_t> which(outs);
    for (Index out = 0; out < outs; out++) {
        const Index v = out % c, column = out / c % (w / 2), row = out / c / (w / 2) % (h / 2), image = out / c / (w / 2) / (h / 2);
        Index best = -1;
        for (Index i = 0; i < 4; i++) {
            const Index at = ((image * h + 2 * row + i / 2) * w + 2 * column + i % 2) * c + v;
            if (best < 0 || x[at] > x[best]) best = at;
        }
        exact_y[out] = x[best];
        exact_dx[best] = dy[out];
    }
    steepest_pool(x.data(), y.data(), which.data(), n, h, w, c, threads);
    steepest_pool_backward(dy.data(), which.data(), dx.data(), n, h, w, c, threads);
    return close(y, exact_y) && close(dx, exact_dx);
}

// Of maps of a Y.
template <class Y>
bool image_conv_right(Index n, Index h, Index w, Index c, Index k, Index size, int threads) {
    const Index high = h - size + 1, wide = w - size + 1;
    const std::vector<float> x = numbers(n * h * w * c), weight = numbers(k * c * size * size), bias = numbers(k);
    std::vector<Y> y(n * high * wide * k);
    std::vector<double> exact(y.size());
    for (Index at = 0; at < Index(exact.size()); at++) {
        const Index out = at % k, column = at / k % wide, row = at / k / wide % high, map = at / k / wide / high;
        double sum = bias[out];
        for (Index in = 0; in < c; in++)
            for (Index i = 0; i < size; i++)
                for (Index j = 0; j < size; j++)
                    sum += double(x[((map * h + row + i) * w + column + j) * c + in]) * weight[((out * c + in) * size + i) * size + j];
        exact[at] = gelu(sum);
    }
    steepest_image_conv(x.data(), weight.data(), bias.data(), y.data(), sizeof(Y) < sizeof(float), n, h, w, c, k, size,
                        3, 0, threads);
    return close(y, exact);
}

}  // namespace

int main() {
    int wrong = 0, count = 0;
    for (Index c : {1, 3, 4, 7, 8, 16, 17, 24, 66})
        for (Index size : {2, 3, 5, 23}) {
            const int threads = 1 + count++ % 3;
            auto images = [&](auto of) {
                return image_conv_right<decltype(of)>(2, size, size + count % 3, 1 + count % 4, c, 1 + count % 2, threads);
            };
            const Index rows = size * size;
            std::vector<bool> right = {norm_right<float, float>(rows, c, threads),
                                       norm_right<float, float>(rows * 100, c, threads), activation_right(size * c, threads),
                                       pool_right(2, size, size + count % 2, c, threads), images(0.f)};
#ifdef STEEPEST_HALF
            right.push_back(norm_right<BFloat16, float>(rows * 9, c, threads));
            right.push_back(norm_right<BFloat16, BFloat16>(rows * 9, c, threads));
            right.push_back(images(BFloat16{}));
#endif
            for (int i = 0; i < int(right.size()); i++)
                if (!right[i]) wrong++, std::printf("wrong: %d, C %d, side %d\n", i, int(c), int(size));
        }
    return wrong > 0;
}
