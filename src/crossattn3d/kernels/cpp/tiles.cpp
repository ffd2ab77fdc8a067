// One pass over the voxels of several maps, tile by tile, on all cores: sums over voxels and mixtures of channels.
//
// A tile is a run of voxels that stays in the cache. The rows of all inputs (channels, a row of ones, single-channel
// maps) are stacked in it, in the type that is computed in. Every pass of the attention is then a few
//
//     grams:     out[i, j] += sum over voxels of row[a + i] * row[b + j],   in double across tiles,
//     mixtures:  out[i, l]  = sum over k of matrix[i, k] * row[first + k, l]  (+ row[add + i, l]),
//
// of rows of this stack. A tile is read before anything of it is written, so an output may be an input's memory.
//
// A pass may begin with a gate (gate.h), whose gradients are rows that no memory has: grams and mixtures take them from
// the tile. Convolutions, which are something else, are in winograd.h.

#include <algorithm>
#include <cstdint>
#include <new>
#include <vector>

#if defined(__linux__)
#include <unistd.h>
#endif

#include "gate.h"
#include "memory.h"
#include "products.h"
#include "threads.h"
#include "vectors.h"
#include "winograd.h"

// Bytes of a tile, about: a good part of a second-level cache.
inline int64_t bytes_of_tile() {
  int64_t cache = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  return std::clamp<int64_t>(cache, 512 * 1024, 2048 * 1024) / 8 * 3;
}

// run.py repeats the layout of these three, of Place and of Type.

struct Gram {
  int32_t a, a_rows, b, b_rows;
  double* out;  // (batch, a_rows, b_rows), added to
};

struct Mixture {
  const void* matrix;  // (batch, out.rows, columns), in the type that is computed in
  int32_t first, columns, add;  // `add` is below 0 if nothing is added
  Place out;
};

struct Gate {
  Mixture logits;  // their sigmoid is G; `out` takes G x (+ `add`), or in a backward pass the gradient of x
  int32_t x, dout, made;  // first rows; the last two are below 0 in a forward pass
};

template <class A>
struct Pass {
  const Place* inputs;
  int n_inputs;
  const Gram* grams;
  int n_grams;
  const Mixture* mixtures;
  int n_mixtures;
  const Gate* gate;  // or null
  int64_t batch, length;

  int64_t rows = 0, most_out = 0;  // stacked; of the largest mixture
  int64_t tile = 0, tiles = 0;     // voxels of a tile; tiles of a sample
  int64_t blocks = 0;              // of all products of a tile
  std::vector<std::vector<A>> matrices{};  // of each mixture, in blocks of ROWS rows
  std::vector<A> matrix_of_gate{};         // in such blocks
  std::vector<A> zeros{};                  // the center of what has none

  std::vector<A> in_blocks(const Mixture& mixture) {
    const int m = mixture.out.rows, n = mixture.columns;
    most_out = std::max<int64_t>(most_out, m);
    const A* from = static_cast<const A*>(mixture.matrix);
    std::vector<A> to(batch * m * n);
    for (int64_t s = 0; s < batch; ++s)
      for (int i = 0; i < m; i += ROWS) {
        const int some = std::min(ROWS, m - i);
        for (int j = 0; j < n; ++j)
          for (int r = 0; r < some; ++r) to[(s * m + i) * n + j * some + r] = from[(s * m + i + r) * n + j];
      }
    return to;
  }

  void prepare() {
    for (int k = 0; k < n_inputs; ++k) rows += inputs[k].rows;
    for (int k = 0; k < n_mixtures; ++k) matrices.push_back(in_blocks(mixtures[k]));
    if (gate) matrix_of_gate = in_blocks(gate->logits);
    zeros.resize(rows);
    // A short tile would spend as long on the sums across vectors, which end each product, as on the products.
    const int64_t steps = bytes_of_tile() / int64_t(sizeof(A)) / rows / STEP, at_most = 2 * steps + 1;
    tile = std::max<int64_t>({1, steps, std::min(FEW_STEPS, at_most)}) * STEP;
    tile = std::min(tile, ceil(length, STEP) * STEP);
    tiles = ceil(length, tile);
    for (int k = 0; k < n_grams; ++k)
      blocks += gram_blocks<A>(grams[k].a_rows, grams[k].b_rows, tile);
    const auto blocks_of = [&](const Mixture& mixture) {
      return ceil(mixture.out.rows, ROWS) * (tile / (COLUMNS * Vector<A>::LANES));
    };
    for (int k = 0; k < n_mixtures; ++k) blocks += blocks_of(mixtures[k]);
    if (gate) blocks += blocks_of(gate->logits);
  }

  void read_rows(A* to, const Place& from, int64_t sample, int64_t start, int64_t voxels) const {
    const int64_t offset = sample * from.batch_stride + start * from.voxel_stride;
    const A* center = from.center ? static_cast<const A*>(from.center) + sample * from.rows : zeros.data();
    const auto get = [&](auto* data) {
      read(to, tile, data + offset, center, from.rows, from.row_stride, from.voxel_stride, voxels);
    };
    if (from.type == ONES) std::fill(to, to + voxels, A(1));
    if (from.type == FLOAT) get(static_cast<const float*>(from.data));
    if (from.type == DOUBLE) get(static_cast<const double*>(from.data));
    if (from.type == BFLOAT) get(static_cast<const bfloat*>(from.data));
  }

  static void write_rows(const Place& to, int row, int rows, const A* from, int64_t sample, int64_t start,
                         int64_t voxels) {
    const int64_t offset = sample * to.batch_stride + row * to.row_stride + start * to.voxel_stride;
    const auto put = [&](auto* data) {
      write(data + offset, from, STEP, rows, to.row_stride, to.voxel_stride, voxels);
    };
    if (to.type == FLOAT) put(static_cast<float*>(to.data));
    if (to.type == DOUBLE) put(static_cast<double*>(to.data));
    if (to.type == BFLOAT) put(static_cast<bfloat*>(to.data));
  }

  Prefetcher next(int64_t t) const {
    const int64_t sample = t / tiles, start = t % tiles * tile, voxels = std::min(tile, length - start);
    Prefetcher prefetch;
    for (int k = 0; k < n_inputs; ++k) {
      const Place& in = inputs[k];
      const int64_t size = size_of(in.type);
      const int64_t offset = sample * in.batch_stride + start * in.voxel_stride;
      const char* from = static_cast<const char*>(in.data) + offset * size;
      if (in.type == ONES || in.type == MADE) continue;
      if (in.row_stride < in.voxel_stride) prefetch.add(from, 1, 0, voxels * in.voxel_stride * size);
      else prefetch.add(from, in.rows, in.row_stride * size, voxels * size);
    }
    prefetch.spread(blocks);
    return prefetch;
  }

  // Write a mixture of a tile. change(row, count, l) is called on finished rows of `results`, for the voxels from `l` on,
  // before they are written.
  template <class Change>
  void make(const Mixture& mixture, const std::vector<A>& matrix, const A* add, const A* stacked, A* results,
            int64_t sample, int64_t start, int64_t voxels, Prefetcher& prefetch, const Change& change) const {
    const int m = mixture.out.rows, n = mixture.columns;
    const bool in_lines = mixture.out.voxel_stride == 1;
    for (int64_t l = 0; l < voxels; l += STEP) {
      const int64_t some = std::min(STEP, voxels - l);
      // Lines are written at once, so that memory can take them while the next ones are computed.
      const auto done = [&](int row, int count) {
        change(row, count, l);
        if (in_lines) write_rows(mixture.out, row, count, results + row * STEP, sample, start + l, some);
      };
      mix(m, &matrix[sample * m * n], stacked + mixture.first * tile + l, n, add ? add + l : nullptr, tile, results,
          prefetch, done);
      if (!in_lines) write_rows(mixture.out, 0, m, results, sample, start + l, some);
    }
  }

  void open(A* stacked, A* results, int64_t sample, int64_t start, int64_t voxels, Prefetcher& prefetch) const {
    const auto change = [&](int row, int count, int64_t l) {
      const auto of = [&](int first) { return first < 0 ? nullptr : stacked + (first + row) * tile + l; };
      A* const rows_of_result = results + row * STEP;
      if (gate->dout < 0) return gated<A>(rows_of_result, of(gate->x), of(gate->logits.add), count, tile);
      A* const made = of(gate->made);
      gated_backward<A>(rows_of_result, of(gate->x), of(gate->dout), made, count, tile);
      // Grams read the padding, too, where 0 times a weight that is not finite is not 0.
      if (l + STEP > voxels)
        for (int r = 0; r < count; ++r) std::fill(made + r * tile + voxels - l, made + r * tile + STEP, A(0));
    };
    make(gate->logits, matrix_of_gate, nullptr, stacked, results, sample, start, voxels, prefetch, change);
  }

  // The tiles from `first` to before `last`, counted through the batch; `sums` has the grams of sample `first / tiles`
  // and of those after it, one gram after the other.
  void run(int64_t first, int64_t last, std::vector<std::vector<double>>& sums) const {
    std::vector<A> space(rows * tile + most_out * STEP + PANEL<A> * tile + LINE / sizeof(A));
    A* const stacked = reinterpret_cast<A*>((reinterpret_cast<uintptr_t>(space.data()) + LINE - 1) / LINE * LINE);
    A* const results = stacked + rows * tile;
    A* const panel = results + most_out * STEP;
    for (int64_t t = first; t < last; ++t) {
      const int64_t sample = t / tiles, start = t % tiles * tile, voxels = std::min(tile, length - start);
      const int64_t padded = ceil(voxels, STEP) * STEP;
      A* to = stacked;
      for (int k = 0; k < n_inputs; ++k) {
        read_rows(to, inputs[k], sample, start, voxels);
        for (int r = 0; r < inputs[k].rows; ++r, to += tile) std::fill(to + voxels, to + padded, A(0));
      }
      Prefetcher prefetch = next(t + 1 < last ? t + 1 : t);
      if (gate) open(stacked, results, sample, start, voxels, prefetch);
      for (int k = 0; k < n_grams; ++k) {
        const Gram& g = grams[k];
        double* out = sums[k].data() + (sample - first / tiles) * g.a_rows * g.b_rows;
        gram(stacked + g.a * tile, g.a_rows, stacked + g.b * tile, g.b_rows, tile, padded, out, panel, prefetch);
      }
      for (int k = 0; k < n_mixtures; ++k) {
        const int add = mixtures[k].add;
        make(mixtures[k], matrices[k], add < 0 ? nullptr : stacked + add * tile, stacked, results, sample, start,
             voxels, prefetch, [](int, int, int64_t) {});
      }
    }
#if defined(__AVX__)
    _mm_sfence();
#endif
  }

  void run_all(int threads, Team team) {
    prepare();
    std::vector<HugePageHint> hints;
    for (int k = 0; k < n_mixtures; ++k) hints.emplace_back(mixtures[k].out, batch, length);
    if (gate) hints.emplace_back(gate->logits.out, batch, length);
    const int64_t all = batch * tiles;
    threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, all)));
    std::vector<std::vector<std::vector<double>>> sums(threads);
    const auto start_of = [&](int k) { return all * k / threads; };
    share_out(threads, threads, team, [&](int k) {
      const int64_t first = start_of(k), last = start_of(k + 1);
      const int64_t samples = (last - 1) / tiles - first / tiles + 1;
      for (int g = 0; g < n_grams; ++g)
        sums[k].emplace_back(samples * grams[g].a_rows * grams[g].b_rows);
      for (const HugePageHint& map : hints) map.get(k, threads);
      run(first, last, sums[k]);
    });
    // In the order of the voxels, so that the same number of threads gives the same sums.
    for (int k = 0; k < threads; ++k)
      for (int g = 0; g < n_grams; ++g) {
        double* out = grams[g].out + start_of(k) / tiles * grams[g].a_rows * grams[g].b_rows;
        for (const double sum : sums[k][g]) *out++ += sum;
      }
  }
};

// 0, or 1 where there is no memory, or else 2.
template <class Work>
int status(const Work& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return 1;
  } catch (...) {
    return 2;
  }
  return 0;
}

extern "C" int run_pass(const Place* inputs, int n_inputs, const Gram* grams, int n_grams, const Mixture* mixtures,
                        int n_mixtures, const Gate* gate, int64_t batch, int64_t length, int in_double, int threads,
                        Team team) {
  return status([&] {
    if (in_double)
      Pass<double>{inputs, n_inputs, grams, n_grams, mixtures, n_mixtures, gate, batch, length}.run_all(threads, team);
    else
      Pass<float>{inputs, n_inputs, grams, n_grams, mixtures, n_mixtures, gate, batch, length}.run_all(threads, team);
  });
}

extern "C" int convolve(const Convolution* convolution, int threads, Team team) {
  return status([&] {
    const Convolver convolver(*convolution, threads);
    const int shares = int(convolver.shares());
    share_out(shares, std::min(threads, shares), team, [&](int k) { convolver.run(k); });
  });
}

/// Version of the compiler that made this; clang's begins with its name.
extern "C" const char* compiler() { return __VERSION__; }
