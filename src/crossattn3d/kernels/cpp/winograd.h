// Convolutions of 3x3x3 with bias and ReLU, by a third of the multiplications: Winograd's F(2, 3) along h, F(4, 3) along w.
//
// A tile is 2 x 4 voxels of the result along (h, w), which depend on 4 x 6 of the input. Both transformed have 24 parts,
//
//     result[part] = sum over slices k and channels c of input[part, k, c] * weights[part, k, c],
//
// where a direct convolution has 8 * 9 products for each k and c. Tiles side by side are rows of one matrix product, and
// a thread goes through the slices: of each it transforms the input once, and keeps it for the two slices to come.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory.h"
#include "products.h"
#include "threads.h"
#include "vectors.h"

// convolution.py repeats the layout of this one and of the weights: (channels_out / OUT, PARTS, 3, channels_in, OUT).
struct Convolution {
  const float* in;
  int64_t size[3], stride[3];  // of the input along (d, h, w); channels are side by side, voxels are 0 outside
  int64_t before[3];           // voxels of the input before the result's first one: 1 or, where it is padded, 0
  float* out;                  // channels last
  int64_t out_size[3];
  const float *weights, *bias;  // transformed; of each channel
  int64_t channels_in, channels_out;
};

constexpr int OUT = 32, PARTS = 24, TILE_H = 2, TILE_W = 4, READ_H = 4, READ_W = 6;
// Tiles side by side whose sums stay in registers, beside those of two vectors of weights.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int POSITIONS = 14;
#else
constexpr int POSITIONS = 6;
#endif
constexpr int64_t MOST_TILES = 2 * POSITIONS, FEWEST_SLICES = 8;

class Convolver {
  static constexpr int LANES = Vector<float>::LANES, BLOCK = 2 * LANES;
  using V = typename Vector<float>::type;

 public:
  Convolver(const Convolution& of, int threads) : c(of) {
    const int64_t across = ceil(c.out_size[2], TILE_W);
    columns = ceil(across, MOST_TILES), tiles = ceil(across, columns);
    rows = ceil(c.out_size[1], TILE_H);
    const int64_t wanted = ceil(4 * int64_t(threads), rows * columns);
    slices = std::max(ceil(c.out_size[0], wanted), FEWEST_SLICES);
    runs = ceil(c.out_size[0], slices);
    pitch = (tiles | 1) * LANES;  // odd, so that the parts of a tile do not share a few lines of the cache
  }

  int64_t shares() const { return runs * rows * columns; }

  void run(int64_t share) const {
    const int64_t slab = PARTS * c.channels_in * pitch / LANES;
    std::vector<float> space(3 * slab + PARTS * tiles * OUT + c.channels_in + LINE / sizeof(float));
    float* const input = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(space.data()) + LINE - 1) / LINE * LINE);
    float *const sums = input + 3 * slab, *const zeros = sums + PARTS * tiles * OUT;
    const int64_t h = share / runs % rows * TILE_H, w = share / runs / rows * tiles * TILE_W;
    const int64_t first = share % runs * slices, last = std::min(first + slices, c.out_size[0]);
    const int64_t n = std::min(tiles, ceil(c.out_size[2] - w, TILE_W));
    for (int64_t d = first; d < last + 2; ++d) {
      transform(d, h, w, n, zeros, input + d % 3 * slab);
      if (d < first + 2) continue;
      const float* const kept[] = {input + (d - 2) % 3 * slab, input + (d - 1) % 3 * slab, input + d % 3 * slab};
      for (int64_t o = 0; o < c.channels_out; o += OUT) {
        multiply_all(kept, c.weights + o * PARTS * 3 * c.channels_in, n, sums);
        write(sums, d - 2, h, w, n, o);
      }
    }
  }

 private:
  // The parts of `n` tiles of the input, in the first slice that slice `d` of the result depends on.
  void transform(int64_t d, int64_t h, int64_t w, int64_t n, const float* zeros, float* to) const {
    const int64_t i = d - 1 + c.before[0], groups = c.channels_in / LANES;
    for (int64_t t = 0; t < n; ++t) {
      const float* at[READ_H][READ_W];
      for (int r = 0; r < READ_H; ++r)
        for (int k = 0; k < READ_W; ++k) {
          const int64_t j = h + r - 1 + c.before[1], l = w + t * TILE_W + k - 1 + c.before[2];
          const bool inside = i >= 0 && i < c.size[0] && j >= 0 && j < c.size[1] && l >= 0 && l < c.size[2];
          at[r][k] = inside ? c.in + i * c.stride[0] + j * c.stride[1] + l * c.stride[2] : zeros;
        }
      for (int64_t g = 0; g < groups; ++g) {
        V y[READ_H][READ_W];
        IN_REGISTERS for (int r = 0; r < READ_H; ++r) {
          V x[READ_W];
          IN_REGISTERS for (int k = 0; k < READ_W; ++k) x[k] = Vector<float>::load(at[r][k] + g * LANES);
          const V even = x[4] - 4.f * x[2], odd = x[3] - 4.f * x[1], near = x[4] - x[2], far = 2.f * (x[3] - x[1]);
          y[r][0] = 4.f * x[0] - 5.f * x[2] + x[4];
          y[r][1] = even + odd;
          y[r][2] = even - odd;
          y[r][3] = near + far;
          y[r][4] = near - far;
          y[r][5] = 4.f * x[1] - 5.f * x[3] + x[5];
        }
        float* const at_group = to + g * pitch + t * LANES;
        const auto put = [&](int part, V v) { Vector<float>::store(at_group + part * groups * pitch, v); };
        IN_REGISTERS for (int k = 0; k < READ_W; ++k) {
          put(k, y[0][k] - y[2][k]);
          put(READ_W + k, y[1][k] + y[2][k]);
          put(2 * READ_W + k, y[2][k] - y[1][k]);
          put(3 * READ_W + k, y[1][k] - y[3][k]);
        }
      }
    }
  }

  // sums[part, t, o] for OUT channels.
  void multiply_all(const float* const* kept, const float* weights, int64_t n, float* sums) const {
    const int64_t pieces = ceil(n, POSITIONS);
    for (int part = 0; part < PARTS; ++part, weights += 3 * c.channels_in * OUT, sums += tiles * OUT) {
      const int64_t offset = part * (c.channels_in / LANES) * pitch;
      for (int o = 0; o < OUT; o += BLOCK)
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const int64_t t = n * piece / pieces, until = n * (piece + 1) / pieces;
          const float* const from[] = {kept[0] + offset + t * LANES, kept[1] + offset + t * LANES,
                                       kept[2] + offset + t * LANES};
          multiply_some(int(until - t), from, weights + o, sums + t * OUT + o);
        }
    }
  }

  template <int N = POSITIONS>
  void multiply_some(int n, const float* const* from, const float* weights, float* sums) const {
    if (n == N) multiply<N>(from, weights, sums);
    else if constexpr (N > 1) multiply_some<N - 1>(n, from, weights, sums);
  }

  template <int N>
  void multiply(const float* const* from, const float* weights, float* to) const {
    V sums[N][2];
    IN_REGISTERS for (int j = 0; j < N; ++j) sums[j][0] = sums[j][1] = V{};
    for (int k = 0; k < 3; ++k) {
      const float* x = from[k];
      for (int64_t first = 0; first < c.channels_in; first += LANES, x += pitch)
#pragma GCC unroll 4
        for (int i = 0; i < LANES; ++i, weights += OUT) {
          const V a = Vector<float>::kept(weights), b = Vector<float>::kept(weights + LANES);
          IN_REGISTERS for (int j = 0; j < N; ++j) {
            sums[j][0] += x[j * LANES + i] * a;
            sums[j][1] += x[j * LANES + i] * b;
          }
        }
    }
    IN_REGISTERS for (int j = 0; j < N; ++j) {
      Vector<float>::store(to + j * OUT, sums[j][0]);
      Vector<float>::store(to + j * OUT + LANES, sums[j][1]);
    }
  }

  // The result of `n` tiles in OUT channels from `o` on.
  void write(const float* sums, int64_t d, int64_t h, int64_t w, int64_t n, int64_t o) const {
    const int64_t part = tiles * OUT;
    for (int64_t t = 0; t < n; ++t)
      for (int k = 0; k < OUT; k += LANES) {
        V y[TILE_H][READ_W];
        IN_REGISTERS for (int i = 0; i < READ_W; ++i) {
          const auto get = [&](int r) { return Vector<float>::load(sums + (r * READ_W + i) * part + t * OUT + k); };
          const V first = get(1), second = get(2);
          y[0][i] = get(0) + (first + second);
          y[1][i] = (first - second) - get(3);
        }
        const V bias = Vector<float>::load(c.bias + o + k);
        for (int r = 0; r < TILE_H && h + r < c.out_size[1]; ++r) {
          const V* const s = y[r];
          const V near = s[1] + s[2], apart = s[1] - s[2], wide = s[3] + s[4], wider = s[3] - s[4];
          const V result[] = {s[0] + near + wide, apart + 2.f * wider, near + 4.f * wide, apart + 8.f * wider + s[5]};
          const int64_t l = w + t * TILE_W;
          float* to = c.out + (((d * c.out_size[1] + h + r) * c.out_size[2]) + l) * c.channels_out + o + k;
          for (int64_t i = 0; i < std::min<int64_t>(TILE_W, c.out_size[2] - l); ++i, to += c.channels_out) {
            const V x = result[i] + bias;
            Vector<float>::store(to, x < V{} ? V{} : x);
          }
        }
      }
  }

  const Convolution& c;
  int64_t columns, tiles, rows, slices, runs;  // shares along w and tiles of each; rows of tiles; slices of a share
  int64_t pitch;                               // from one group of LANES channels to the next
};
