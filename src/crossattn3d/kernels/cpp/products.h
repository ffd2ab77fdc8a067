// Gram matrices and mixtures of the rows of a tile, in blocks of as many sums as fit into registers.

#pragma once

#include "memory.h"
#include "vectors.h"

constexpr int64_t STEP = 96;  // voxels; a divisor of a tile and a multiple of every block
constexpr int64_t FEW_STEPS = 3;

template <class A, int M, int N>
void gram_block(const A* a, const A* b, int64_t tile, int64_t voxels, double* out, int64_t stride) {
  using V = typename Vector<A>::type;
  V sums[M][N] = {};
  for (int64_t l = 0; l < voxels; l += Vector<A>::LANES) {
    V y[N];
    for (int j = 0; j < N; ++j) y[j] = Vector<A>::kept(b + j * tile + l);
    for (int i = 0; i < M; ++i) {
      const V x = Vector<A>::kept(a + i * tile + l);
      for (int j = 0; j < N; ++j) sums[i][j] += x * y[j];
    }
  }
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) out[i * stride + j] += double(Vector<A>::sum(sums[i][j]));
}

template <class A, int M, int N = GRAM_COLUMNS>
void gram_columns(int n, const A* a, const A* b, int64_t tile, int64_t voxels, double* out, int64_t stride) {
  if (n >= N)
    gram_block<A, M, N>(a, b, tile, voxels, out, stride);
  else if constexpr (N > 1)
    gram_columns<A, M, N - 1>(n, a, b, tile, voxels, out, stride);
}

template <class A, int M = GRAM_ROWS>
void gram_rows(int m, const A* a, const A* b, int columns, int64_t tile, int64_t voxels, double* out, Prefetcher& prefetch) {
  if (m >= M) {
    for (int j = 0; j < columns; j += GRAM_COLUMNS) {
      prefetch();
      gram_columns<A, M>(columns - j, a, b + j * tile, tile, voxels, out + j, columns);
    }
  } else if constexpr (M > 1) {
    gram_rows<A, M - 1>(m, a, b, columns, tile, voxels, out, prefetch);
  }
}

// Vectors of voxels that a block of M rows takes at a time: as many as fit into registers and divide a tile.
template <class A, int M>
constexpr int width() {
  int n = ROWS * COLUMNS / M;
  while (STEP % (n * Vector<A>::LANES)) --n;
  return n;
}

// matrix[k * M + i] for a block of M rows.
template <class A, int M>
void mix_block(const A* matrix, const A* x, int columns, const A* add, int64_t tile, A* out) {
  using V = typename Vector<A>::type;
  constexpr int N = width<A, M>(), LANES = Vector<A>::LANES;
  V sums[M][N] = {};
  if (add)
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < N; ++j) sums[i][j] = Vector<A>::load(add + i * tile + j * LANES);
  for (int k = 0; k < columns; ++k)
    if constexpr (M == 1) {
      for (int j = 0; j < N; ++j) sums[0][j] += matrix[k] * Vector<A>::load(x + k * tile + j * LANES);
    } else {
      V y[N];
      for (int j = 0; j < N; ++j) y[j] = Vector<A>::kept(x + k * tile + j * LANES);
      for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) sums[i][j] += matrix[k * M + i] * y[j];
    }
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) Vector<A>::store(out + i * STEP + j * LANES, sums[i][j]);
}

// `rows` rows in blocks of M, the rest in smaller ones; STEP voxels, which stay in the first-level cache.
template <class A, int M = ROWS, class Done>
void mix(int rows, const A* matrix, const A* x, int columns, const A* add, int64_t tile, A* out, Prefetcher& prefetch,
         const Done& done, int first = 0) {
  constexpr int WIDTH = width<A, M>() * Vector<A>::LANES;
  for (; first + M <= rows; first += M) {
    for (int64_t l = 0; l < STEP; l += WIDTH) {
      prefetch();
      mix_block<A, M>(matrix + first * columns, x + l, columns, add ? add + first * tile + l : nullptr, tile,
                      out + first * STEP + l);
    }
    done(first, M);
  }
  if constexpr (M > 1) mix<A, M - 1>(rows, matrix, x, columns, add, tile, out, prefetch, done, first);
}
