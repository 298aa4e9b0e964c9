// Small multi-layer perceptrons trained side by side: a block of lanes goes over the same batches, each with weights and
// rates of its own, whole epochs in one call.
//
// A matrix of weights is (inputs + 1, units), the bias its last row, which with batch norm stays zero and is followed by γ
// and β; rows are padded to whole vectors, and the padding stays zero. A batch is gathered and normalised once for all lanes of the block, whose weights stay in the core's
// cache; a gradient is never stored: the optimiser moves the weights while it is still in registers.

#include "activations.h"

#include <cmath>
#include <new>

#if defined(__SSE__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

extern "C" {

// The shape of all lanes of a block. sizes: inputs, hidden units …, outputs. activation: 0 ReLU, 1 tanh, 2 logistic.
// loss: 0 cross-entropy, 1 squared error. Dropout: what the kept are multiplied by in training, and all in evaluation.
struct LaneNet {
    Index layers;
    const Index* sizes;
    Index activation, residual, norm, loss, classes, dropout;
    double norm_eps, norm_momentum, train_scale, eval_scale, smoothing;
};

// Rows (count, sizes[0]) of bytes or floats, normalised as scale·x + shift; targets (count) classes or (count, K) floats.
struct LaneRows {
    const void* rows;
    Index bytes, count;
    const float *scale, *shift;
    const void* targets;
};

// Steps `first` to `first + steps`; order: (steps, batch) rows; masks: (steps, hidden layers, batch, units), 1 where kept.
// ends: the steps, counted from 1, after which figures are taken, and a 0.
struct LaneSpan {
    const Index* order;
    const std::uint8_t* masks;
    const Index* ends;
    Index first, steps, batch;
};

// optimizer: 0 SGD, 1 SGD with Nesterov's momentum, 2 with the rate inside the momentum, 3 Adam, 4 AdamW. rates: what lr is
// multiplied by at each step; momenta: that of each step (β₁ for Adam), or null where it is the same in all. figures: (points, 4), the sums of losses and of correct rows in training, then in
// validation. died: the step whose loss is no number any more, else -1.
struct Lane {
    float *weights, *first, *second, *running;
    const double *rates, *momenta;
    double lr, momentum, weight_decay, beta2, eps;
    Index optimizer;
    double* figures;
    Index died;
    double loss;
};
}

namespace {

constexpr Index AT_ONCE = 64;         // rows in evaluation
constexpr int TALL = L == 16 ? 8 : 4;  // rows of a tile whose sums fit the registers

INLINE Index padded(Index units) { return (units + 15) / 16 * 16; }  // whole vectors on every processor

INLINE Vec root(Vec v) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_ps(0xffff, v);
#elif defined(__AVX__)
    return _mm256_sqrt_ps(v);
#elif defined(__SSE__)
    return _mm_sqrt_ps(v);
#elif defined(__aarch64__)
    return vsqrtq_f32(v);
#else
    for (int i = 0; i < L; i++) v[i] = std::sqrt(v[i]);
    return v;
#endif
}

// Within, subnormal numbers are zero, as they are where a training is set up.
struct Flushed {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    Flushed() { _mm_setcsr(before | 0x8040); }
    ~Flushed() { _mm_setcsr(before); }
#endif
};

// ---- Activations: the value, and the slope from the value.

struct Rectifier {
    static INLINE Vec value(Vec z) { return z <= 0 ? Vec{} : z; }
    static INLINE Vec slope(Vec y) { return y > 0 ? all(1) : Vec{}; }
};

struct Tanh {
    static INLINE Vec value(Vec z) {  // (e^2z - 1) / (e^2z + 1), exact near 0 too
        Vec scale, rest;
        two_to(at_least(at_most(z, 10), -10) * (2 * LOG2E), scale, rest);
        const Vec less = scale - 1 + scale * rest;
        return less / (less + 2);
    }
    static INLINE Vec slope(Vec y) { return 1 - y * y; }
};

struct Sigmoid {
    static INLINE Vec value(Vec z) { return Logistic(z).share; }
    static INLINE Vec slope(Vec y) { return y * (1 - y); }
};

template <class F>
INLINE void with_kind(Index kind, F&& body) {
    if (kind == 0) return body(Rectifier{});
    if (kind == 1) return body(Tanh{});
    return body(Sigmoid{});
}

// ---- Products: c(r, col) = Σ_i a[r, i]·b[i, col], each vector given to done(r, col, sum).

template <int R, int V, bool ACROSS, class E>
INLINE void tile(Index k, const float* a, Index lda, const float* b, Index ldb, E&& done) {
    Vec sums[R][V] = {};
    for (Index i = 0; i < k; i++) {
        Vec right[V];
        for (int v = 0; v < V; v++) right[v] = load(b + i * ldb + v * L);
        for (int r = 0; r < R; r++) {
            const Vec left = all(ACROSS ? a[i * lda + r] : a[r * lda + i]);
            for (int v = 0; v < V; v++) sums[r][v] += left * right[v];
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) done(r, v * L, sums[r][v]);
}

template <int V, bool ACROSS, class E>
INLINE void column(Index rows, Index k, const float* a, Index lda, const float* b, Index ldb, E&& done) {
    Index r = 0;
    auto at = [&](Index row) IN_PLACE { return a + (ACROSS ? row : row * lda); };
    auto put = [&](Index i, Index v, Vec sum) IN_PLACE { done(r + i, v, sum); };
    for (; r + TALL <= rows; r += TALL) tile<TALL, V, ACROSS>(k, at(r), lda, b, ldb, put);
    for (; r + 4 <= rows; r += 4) tile<4, V, ACROSS>(k, at(r), lda, b, ldb, put);
    for (; r < rows; r++) tile<1, V, ACROSS>(k, at(r), lda, b, ldb, put);
}

// a (rows, k), or with ACROSS (k, rows); b (k, cols), its rows ldb apart; cols is a whole number of vectors.
template <bool ACROSS, class E>
void product(Index rows, Index k, Index cols, const float* a, Index lda, const float* b, Index ldb, E&& done) {
    Index c = 0;
    auto put = [&](Index r, Index v, Vec sum) IN_PLACE { done(r, c + v, sum); };
    for (; c + 2 * L <= cols; c += 2 * L) column<2, ACROSS>(rows, k, a, lda, b + c, ldb, put);
    if (c < cols) column<1, ACROSS>(rows, k, a, lda, b + c, ldb, put);
}

// ---- The optimisers.

struct Rule {
    Index kind;
    float rate, momentum, decay, shrink = 1, fresh = 0, second = 0, fresh_square = 0, over = 0, eps = 0;

    Rule(const Lane& lane, Index i, Index step) : kind(lane.optimizer) {
        const double lr = lane.lr * lane.rates[i], mu = lane.momenta ? lane.momenta[i] : lane.momentum;
        rate = float(lr), momentum = float(mu), decay = float(lane.weight_decay);
        if (kind == 2) decay = float(lr * lane.weight_decay);
        if (kind <= 2) return;
        if (kind == 4) shrink = float(1 - lr * lane.weight_decay), decay = 0;
        const double times = double(step + 1);
        rate = float(lr / (1 - std::pow(mu, times)));
        over = float(1 / std::sqrt(1 - std::pow(lane.beta2, times)));
        fresh = float(1 - mu), second = float(lane.beta2), fresh_square = float(1 - lane.beta2), eps = float(lane.eps);
    }

    INLINE void move(float* w, float* m, float* s, Vec g) const {
        Vec now = load(w);
        if (kind == 2) {
            const Vec velocity = load(m) * momentum - g * rate - now * decay;
            store(m, velocity);
            return store(w, now + velocity);
        }
        g += now * decay;
        if (kind < 2) {
            if (momentum != 0) {
                const Vec velocity = load(m) * momentum + g;
                store(m, velocity);
                g = kind == 1 ? g + velocity * momentum : velocity;
            }
            return store(w, now - g * rate);
        }
        Vec mean = load(m), square = load(s);
        mean += (g - mean) * fresh;
        square = square * second + g * g * fresh_square;
        store(m, mean);
        store(s, square);
        store(w, now * shrink - mean * rate / (root(square) * over + eps));
    }
};

// ---- One block.

// What one layer keeps of a forward pass: (batch, padded units) each, and its place among a lane's weights.
struct Layer {
    Index in, units, wide, at, running;
    float *y, *out, *next, *hat, *over;  // over: 1 / √(variance + ε) of each unit
    const float* x;
    Index ldx;
    bool added;         // residual
    const float* skip;  // its input, before dropout
};

struct Work {
    std::vector<float> memory;
    float* free;

    explicit Work(Index numbers) : memory(numbers + 16) {
        free = reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
    }
    float* take(Index numbers) {
        float* taken = free;
        free += padded(numbers);
        return taken;
    }
};

struct Block {
    const LaneNet& net;
    const LaneSpan& span;
    Index inputs, stride, most, widest = 0, hidden = 0;
    std::vector<Layer> layers;
    Work work;
    float *x, *dz, *gradient, *beside, *turned, *scores;
    std::vector<Index> classes;
    std::vector<float> wanted;

    // Floats in all, so that one piece of memory holds them.
    static Index needs(const LaneNet& net, Index most) {
        Index sum = most * (padded(net.sizes[0]) + 16), widest = 0;
        for (Index l = 0; l < net.layers; l++) {
            const Index wide = padded(net.sizes[l + 1]);
            widest = std::max(widest, wide);
            sum += 4 * most * wide + 2 * wide + wide * padded(net.sizes[l]) * (l > 0);
        }
        return sum + 3 * most * widest + L * widest;
    }

    Block(const LaneNet& net, const LaneSpan& span)
        : net(net), span(span), inputs(net.sizes[0]), most(std::max(span.batch, AT_ONCE)), work(needs(net, most)) {
        stride = padded(inputs) + (inputs > 16 ? 16 : 0);  // no power of two, in whose multiples a cache has few places
        x = work.take(most * stride);
        Index at = 0, running = 0, turns = 0;
        for (Index l = 0; l < net.layers; l++) {
            const Index in = net.sizes[l], units = net.sizes[l + 1], wide = padded(units);
            const bool last = l + 1 == net.layers;
            Layer made{in, units, wide, at, running, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0, false, nullptr};
            made.added = net.residual && in == units && !last;
            made.y = made.out = made.next = work.take(most * wide);
            if (made.added) made.out = made.next = work.take(most * wide);
            if (net.dropout && !last) made.next = work.take(most * wide);
            if (net.norm && !last) made.hat = work.take(most * wide), made.over = work.take(wide);
            at += (in + 1) * wide + (net.norm && !last ? 2 * wide : 0);
            running += net.norm && !last ? 2 * wide : 0;
            widest = std::max(widest, wide);
            if (l) turns = std::max(turns, padded(in) * wide);
            if (!last) hidden += units;
            layers.push_back(made);
        }
        for (Index l = 0; l < net.layers; l++) {
            layers[l].x = l ? layers[l - 1].next : x;
            layers[l].ldx = l ? layers[l - 1].wide : stride;
            layers[l].skip = l ? layers[l - 1].out : x;
        }
        dz = work.take(most * widest), gradient = work.take(most * widest), beside = work.take(most * widest);
        turned = work.take(turns), scores = work.take(L * widest);
        classes.resize(most);
        wanted.resize(most * net.sizes[net.layers]);
    }

    // ---- Rows.

    void gather(const LaneRows& data, const Index* order, Index count) {
        for (Index n = 0; n < count; n++) {
            const Index row = order ? order[n] : n;
            float* to = x + n * stride;
            if (data.bytes)
                normalise(static_cast<const std::uint8_t*>(data.rows) + row * inputs, data, to);
            else
                normalise(static_cast<const float*>(data.rows) + row * inputs, data, to);
            const Index k = net.sizes[net.layers];
            if (net.classes)
                classes[n] = static_cast<const Index*>(data.targets)[row];
            else
                std::memcpy(&wanted[n * k], static_cast<const float*>(data.targets) + row * k, k * sizeof(float));
        }
    }

    template <class T>
    void normalise(const T* __restrict from, const LaneRows& data, float* __restrict to) const {
        const float *__restrict scale = data.scale, *__restrict shift = data.shift;
        for (Index d = 0; d < inputs; d++) to[d] = float(from[d]) * scale[d] + shift[d];
    }

    void fetch(const LaneRows& data, const Index* order, Index count) const {
        const Index bytes = inputs * (data.bytes ? 1 : 4);
        for (Index n = 0; n < count; n++)
            for (Index at = 0; at < bytes; at += 64)
                __builtin_prefetch(static_cast<const char*>(data.rows) + order[n] * bytes + at, 0, 2);
    }

    // ---- Forward.

    void forward(Lane& lane, Index n, bool training, const std::uint8_t* masks) {
        for (Index l = 0; l < net.layers; l++) {
            const Layer& at = layers[l];
            const float *w = lane.weights + at.at, *bias = w + at.in * at.wide;
            product<false>(n, at.in, at.wide, at.x, at.ldx, w, at.wide, [&](Index r, Index c, Vec sum) IN_PLACE {
                store(at.y + r * at.wide + c, sum + load(bias + c));
            });
            if (l + 1 == net.layers) return;
            if (net.norm) normed(lane, at, n, training);
            with_kind(net.activation, [&](auto kind) IN_PLACE {
                for (Index i = 0; i < n * at.wide; i += L) store(at.y + i, kind.value(load(at.y + i)));
            });
            if (at.added)
                for (Index r = 0; r < n; r++)
                    for (Index c = 0; c < at.units; c++)
                        at.out[r * at.wide + c] = at.y[r * at.wide + c] + at.skip[r * at.ldx + c];
            if (net.dropout) dropped(at, n, training, masks);
            masks += training && net.dropout ? n * at.units : 0;
        }
    }

    void normed(Lane& lane, const Layer& at, Index n, bool training) {
        float* gamma = lane.weights + at.at + (at.in + 1) * at.wide;
        const float* beta = gamma + at.wide;
        float *means = lane.running + at.running, *variances = means + at.wide;
        const float eps = float(net.norm_eps), share = float(net.norm_momentum), over = 1 / float(n);
        for (Index c = 0; c < at.wide; c += L) {
            Vec mean = load(means + c), variance = load(variances + c);
            if (training) {
                mean = variance = Vec{};
                for (Index r = 0; r < n; r++) mean += load(at.y + r * at.wide + c);
                mean *= over;
                for (Index r = 0; r < n; r++) {
                    const Vec d = load(at.y + r * at.wide + c) - mean;
                    variance += d * d;
                }
                variance *= over;
                const float unbiased = share * float(n) / float(n - 1);
                store(means + c, load(means + c) * (1 - share) + mean * share);
                store(variances + c, load(variances + c) * (1 - share) + variance * unbiased);
            }
            const Vec inverse = 1 / root(variance + eps), g = load(gamma + c), b = load(beta + c);
            store(at.over + c, inverse);
            for (Index r = 0; r < n; r++) {
                const Vec hat = (load(at.y + r * at.wide + c) - mean) * inverse;
                store(at.hat + r * at.wide + c, hat);
                store(at.y + r * at.wide + c, hat * g + b);
            }
        }
    }

    void dropped(const Layer& at, Index n, bool training, const std::uint8_t* mask) const {
        const float scale = float(training ? net.train_scale : net.eval_scale);
        for (Index r = 0; r < n; r++)
            for (Index c = 0; c < at.units; c++) {
                const float y = at.out[r * at.wide + c] * scale;
                at.next[r * at.wide + c] = training && !mask[r * at.units + c] ? 0 : y;
            }
    }

    // ---- Loss: the sum over the rows and how many are correct; with `slope` its gradient, times `share`, in dz.

    double cross_entropy(Index n, double smoothing, bool slope, double& correct) const {
        const Layer& end = layers.back();
        const Index k = end.units;
        const float smooth = float(smoothing), off = smooth / float(k);
        double total = 0, product = 1;
        for (Index from = 0; from < n; from += L) {
            const Index count = std::min<Index>(L, n - from);
            float* z = scores;  // (K, L): a row a place of the vectors
            Vec top{}, sum{}, all_z{}, own{}, worse{};
            for (Index c = 0; c < k; c++)
                for (Index i = 0; i < L; i++) z[c * L + i] = i < count ? end.y[(from + i) * end.wide + c] : 0;
            top = load(z);
            for (Index c = 1; c < k; c++) top = load(z + c * L) > top ? load(z + c * L) : top;
            for (Index i = 0; i < count; i++) own[i] = z[classes[from + i] * L + i];
            for (Index c = 0; c < k; c++) {
                const Vec here = load(z + c * L);
                for (Index i = 0; i < count; i++) worse[i] += here[i] > own[i] || (here[i] == own[i] && c < classes[from + i]);
                all_z += here;
                const Vec power = two_to(at_least((here - top) * LOG2E, -126));
                store(z + c * L, power);
                sum += power;
            }
            const Vec over = 1 / sum;
            for (Index i = 0; i < count; i++) {
                product *= sum[i];
                if (product > 1e200) total += std::log(product), product = 1;
                total += double(top[i]) - (1 - smoothing) * own[i] - smoothing * all_z[i] / double(k);
                correct += worse[i] == 0 && own[i] == own[i];
            }
            if (!slope) continue;
            const float share = 1 / float(n);
            for (Index i = 0; i < count; i++) {
                float* to = dz + (from + i) * end.wide;
                for (Index c = 0; c < k; c++) to[c] = (z[c * L + i] * over[i] - off) * share;
                for (Index c = k; c < end.wide; c++) to[c] = 0;
                to[classes[from + i]] -= (1 - smooth) * share;
            }
        }
        return total + std::log(product);
    }

    double squared_error(Index n, bool slope, double& correct) const {
        const Layer& end = layers.back();
        const Index k = end.units;
        const float share = 2 / float(k * n);
        double total = 0;
        for (Index r = 0; r < n; r++) {
            const float* z = end.y + r * end.wide;
            float sum = 0;
            Index best = 0;
            for (Index c = 0; c < k; c++) {
                const float want = net.classes ? float(c == classes[r]) : wanted[r * k + c], d = z[c] - want;
                sum += d * d;
                best = z[c] > z[best] ? c : best;
                if (slope) dz[r * end.wide + c] = d * share;
            }
            for (Index c = k; c < end.wide && slope; c++) dz[r * end.wide + c] = 0;
            total += sum / float(k);
            correct += net.classes && best == classes[r];
        }
        return total;
    }

    // ---- Backward, from dz of the last layer; moves the weights.

    void backward(Lane& lane, Index n, const Rule& rule, const std::uint8_t* masks) {
        for (Index l = net.layers - 1; l >= 0; l--) {
            const Layer& at = layers[l];
            float *w = lane.weights + at.at, *m = lane.first + at.at, *s = lane.second ? lane.second + at.at : nullptr;
            if (l) {
                turn(w, at);
                const Index wide = layers[l - 1].wide;
                const bool pass = at.added;  // the gradient of what was added goes on to the input as well
                if (pass && net.dropout) std::memcpy(beside, gradient, n * wide * sizeof(float));
                product<false>(n, at.units, wide, dz, at.wide, turned, wide, [&](Index r, Index c, Vec sum) IN_PLACE {
                    float* to = gradient + r * wide + c;
                    store(to, pass && !net.dropout ? load(to) + sum : sum);
                });
            }
            product<true>(at.in, n, at.wide, at.x, at.ldx, dz, at.wide, [&](Index d, Index c, Vec g) IN_PLACE {
                const Index i = d * at.wide + c;
                rule.move(w + i, m + i, s + i, g);
            });
            for (Index c = 0; c < at.wide && !at.hat; c += L) {  // a norm has the bias, if the layer has one
                Vec g{};
                for (Index r = 0; r < n; r++) g += load(dz + r * at.wide + c);
                const Index i = at.in * at.wide + c;
                rule.move(w + i, m + i, s + i, g);
            }
            if (!l) return;
            const Layer& below = layers[l - 1];
            if (net.dropout) {
                masks -= n * below.units;
                for (Index r = 0; r < n; r++)
                    for (Index c = 0; c < below.units; c++) {
                        const float kept = masks[r * below.units + c] ? float(net.train_scale) : 0;
                        float* to = gradient + r * below.wide + c;
                        *to = *to * kept + (at.added ? beside[r * below.wide + c] : 0);
                    }
            }
            with_kind(net.activation, [&](auto kind) IN_PLACE {
                for (Index i = 0; i < n * below.wide; i += L)
                    store(dz + i, load(gradient + i) * kind.slope(load(below.y + i)));
            });
            if (net.norm) denormed(lane, below, n, rule);
        }
    }

    // The weights of a layer without the bias, (in, wide) -> (units, padded in).
    void turn(const float* w, const Layer& at) const {
        const Index wide = padded(at.in);
        for (Index c = 0; c < at.units; c++) {
            for (Index d = 0; d < at.in; d++) turned[c * wide + d] = w[d * at.wide + c];
            for (Index d = at.in; d < wide; d++) turned[c * wide + d] = 0;
        }
    }

    void denormed(Lane& lane, const Layer& at, Index n, const Rule& rule) {
        const Index place = at.at + (at.in + 1) * at.wide;
        const float over = 1 / float(n);
        for (Index c = 0; c < at.wide; c += L) {
            Vec sum{}, by_hat{};
            for (Index r = 0; r < n; r++) {
                const Vec g = load(dz + r * at.wide + c);
                sum += g;
                by_hat += g * load(at.hat + r * at.wide + c);
            }
            const Vec scale = load(lane.weights + place + c) * load(at.over + c);
            for (Index r = 0; r < n; r++) {
                const Vec hat = load(at.hat + r * at.wide + c), g = load(dz + r * at.wide + c);
                store(dz + r * at.wide + c, scale * (g - (sum + hat * by_hat) * over));
            }
            for (int which = 0; which < 2; which++) {
                const Index i = place + which * at.wide + c;
                rule.move(lane.weights + i, lane.first + i, lane.second + i, which ? sum : by_hat);
            }
        }
    }

    // ---- Steps.

    void train(Lane* lanes, Index count, const LaneRows& rows, const LaneRows& held) {
        const Index n = span.batch;
        std::vector<double> loss(count), correct(count);
        Index point = 0;
        for (Index i = 0; i < span.steps; i++) {
            const Index step = span.first + i, *order = span.order + i * n;
            gather(rows, order, n);
            if (i + 1 < span.steps) fetch(rows, order + n, n);
            const std::uint8_t* masks = span.masks + i * n * hidden;
            for (Index j = 0; j < count; j++) {
                Lane& lane = lanes[j];
                if (lane.died >= 0) continue;
                forward(lane, n, true, masks);
                const double sum = net.loss ? squared_error(n, true, correct[j])
                                            : cross_entropy(n, net.smoothing, true, correct[j]);
                loss[j] += sum;
                if (!std::isfinite(float(sum / double(n)))) {
                    lane.died = step;
                    lane.loss = double(float(sum / double(n)));
                    continue;
                }
                backward(lane, n, Rule(lane, i, step), masks + n * hidden);
            }
            if (step + 1 != span.ends[point]) continue;
            for (Index j = 0; j < count; j++) {
                double* to = lanes[j].figures + point * 4;
                to[0] = loss[j], to[1] = correct[j], to[2] = to[3] = 0;
                loss[j] = correct[j] = 0;
            }
            evaluate(lanes, count, held, point++);
        }
    }

    void evaluate(Lane* lanes, Index count, const LaneRows& held, Index point) {
        for (Index from = 0; from < held.count; from += AT_ONCE) {
            const Index n = std::min(AT_ONCE, held.count - from), k = net.sizes[net.layers];
            LaneRows part = held;
            part.rows = static_cast<const char*>(held.rows) + from * inputs * (held.bytes ? 1 : 4);
            part.targets = static_cast<const char*>(held.targets) + from * (net.classes ? 8 : 4 * k);
            gather(part, nullptr, n);
            for (Index j = 0; j < count; j++) {
                if (lanes[j].died >= 0) continue;
                double* to = lanes[j].figures + point * 4 + 2;
                forward(lanes[j], n, false, nullptr);
                to[0] += net.classes ? cross_entropy(n, 0, false, to[1]) : squared_error(n, false, to[1]);
            }
        }
    }
};

}  // namespace

// Trains `count` lanes over a span; 1 where there is no memory. One thread.
extern "C" int steepest_lanes(const LaneNet* net, const LaneSpan* span, const LaneRows* rows, const LaneRows* held,
                              Lane* lanes, Index count) {
    try {
        [[maybe_unused]] Flushed flushed;
        Block(*net, *span).train(lanes, count, *rows, *held);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
