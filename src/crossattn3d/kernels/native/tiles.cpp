// One pass over the voxels of several maps, tile by tile, on all cores: sums over voxels and mixtures of channels.
//
// A tile is a run of voxels that stays in the cache. The rows of all inputs (channels, a row of ones, single-channel
// maps) are stacked in it, in the type that is computed in. Every pass of the attention is then a few
//
//     grams:     out[i, j] += sum over voxels of row[a + i] * row[b + j],   in double across tiles,
//     mixtures:  out[i, l]  = sum over k of matrix[i, k] * row[first + k, l]  (+ row[add + i, l]),
//
// of rows of this stack. A tile is read before anything of it is written, so an output may be an input's memory.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int BYTES = 64, COLUMNS = 6;  // of a vector register; of a block of sums, which has 4 rows
#elif defined(__AVX__)
constexpr int BYTES = 32, COLUMNS = 3;
#elif defined(__aarch64__)
constexpr int BYTES = 16, COLUMNS = 6;
#else
constexpr int BYTES = 16, COLUMNS = 3;
#endif
constexpr int ROWS = 4;
// Bytes of a tile, about: a good part of a second-level cache. A tile is a multiple of STEP voxels.
constexpr int64_t TILE = 192 * 1024, STEP = 96, LINE = 64;

// The layout of these four is known to passes.py, too.
enum Type : int32_t { ONES = 0, FLOAT = 1, DOUBLE = 2, BFLOAT = 3 };

inline int64_t size_of(Type type) { return type == FLOAT ? 4 : type == DOUBLE ? 8 : 2; }

struct Place {  // of an array (batch, rows, voxels); strides in elements
  void* data;
  int64_t batch_stride, row_stride, voxel_stride;
  int32_t rows;
  Type type;
};

struct Gram {
  int32_t a, a_rows, b, b_rows;
  double* out;  // (batch, a_rows, b_rows), added to
};

struct Mixture {
  const void* matrix;  // (batch, out.rows, columns), in the type that is computed in
  int32_t first, columns, add;  // `add` is below 0 if nothing is added
  Place out;
};

struct bfloat {
  uint16_t bits;
  operator float() const {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  bfloat() = default;
  explicit bfloat(float value) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    const uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    bits = uint16_t(value != value ? 0x7fc0 : rounded);
  }
};

template <class A>
struct Vector {
  static constexpr int LANES = BYTES / sizeof(A);
  typedef A type __attribute__((vector_size(BYTES)));

  static type load(const A* p) {
    type v;
    std::memcpy(&v, p, BYTES);
    return v;
  }
  static void store(A* p, type v) { std::memcpy(p, &v, BYTES); }
  // In a register from here on: read in every product it takes part in, it would take longer than the products.
  static type kept(const A* p) {
    type v = load(p);
#if defined(__x86_64__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
  }
  static A sum(type v) {
    for (int half = LANES / 2; half; half /= 2)
      for (int i = 0; i < half; ++i) v[i] += v[i + half];
    return v[0];
  }
};

// LANES values in another type, from memory and to it.
template <class A, class T>
typename Vector<A>::type load_as(const T* from) {
  typename Vector<A>::type v;
  if constexpr (std::is_same_v<A, T>) return Vector<A>::load(from);
  for (int i = 0; i < Vector<A>::LANES; ++i) v[i] = A(from[i]);
  return v;
}

template <>
inline Vector<float>::type load_as<float, bfloat>(const bfloat* from) {
  typedef uint16_t Narrow __attribute__((vector_size(BYTES / 2)));
  typedef uint32_t Wide __attribute__((vector_size(BYTES)));
  Narrow bits;
  std::memcpy(&bits, from, sizeof(bits));
  return (Vector<float>::type)(__builtin_convertvector(bits, Wide) << 16);
}

template <class A, class T>
void store_as(T* to, typename Vector<A>::type v) {
  if constexpr (std::is_same_v<A, T>) return Vector<A>::store(to, v);
  for (int i = 0; i < Vector<A>::LANES; ++i) to[i] = T(v[i]);
}

template <>
inline void store_as<float, bfloat>(bfloat* to, Vector<float>::type v) {
  typedef uint16_t Narrow __attribute__((vector_size(BYTES / 2)));
  typedef uint32_t Wide __attribute__((vector_size(BYTES)));
  const Wide wide = (Wide)v, rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  const Wide is_nan = (Wide)(v != v);
  const Narrow bits = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), Narrow);
  std::memcpy(to, &bits, sizeof(bits));
}

// --- Transposition of LANES x LANES values: off-diagonal blocks of S x S change places, for S = LANES / 2, ..., 1.

template <class V, int S, int... I>
void exchange(V& a, V& b, std::integer_sequence<int, I...>) {
  constexpr int N = sizeof...(I);
  const V upper = __builtin_shufflevector(a, b, (I & S ? N + I - S : I)...);
  b = __builtin_shufflevector(a, b, (I & S ? N + I : I + S)...);
  a = upper;
}

template <class V, int N, int S = N / 2>
inline __attribute__((always_inline)) void transpose(V* v) {
  if constexpr (S > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i)
      if (!(i & S)) exchange<V, S>(v[i], v[i + S], std::make_integer_sequence<int, N>());
    transpose<V, N, S / 2>(v);
  }
}

// Write what nobody reads soon past the caches; return how many values that was possible for.
template <class T, class A>
int64_t stream(T* to, const A* from, int64_t voxels) {
  int64_t l = 0;
#if defined(__AVX__)
  constexpr int N = 32 / sizeof(T);
  if (reinterpret_cast<uintptr_t>(to) % 32 == 0)
    for (; l + N <= voxels; l += N) {
      alignas(32) T values[N];
      for (int k = 0; k < N; ++k) values[k] = T(from[l + k]);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + l), *reinterpret_cast<const __m256i*>(values));
    }
#endif
  return l;
}

// --- Between memory and rows of a tile, rows[r * tile + l].

template <class T, class A>
void read(A* to, int64_t tile, const T* from, int rows, int64_t row_stride, int64_t voxel_stride, int64_t voxels) {
  constexpr int N = Vector<A>::LANES;
  using V = typename Vector<A>::type;
  if (voxel_stride == 1) {
    for (int r = 0; r < rows; ++r) {
      const T* line = from + r * row_stride;
      for (int64_t l = 0; l < voxels; ++l) to[r * tile + l] = A(line[l]);
    }
    return;
  }
  int r = 0;
  if (row_stride == 1)
    for (; r + N <= rows; r += N)
      for (int64_t l = 0; l < voxels; l += N) {
        V v[N];
        const int some = int(std::min<int64_t>(N, voxels - l));
        for (int i = 0; i < N; ++i) v[i] = load_as<A>(from + (l + std::min(i, some - 1)) * voxel_stride + r);
        transpose<V, N>(v);
        for (int i = 0; i < N; ++i) Vector<A>::store(to + (r + i) * tile + l, v[i]);  // tiles are padded
      }
  for (; r < rows; ++r)
    for (int64_t l = 0; l < voxels; ++l) to[r * tile + l] = A(from[l * voxel_stride + r * row_stride]);
}

template <class T, class A>
void write(T* to, const A* from, int64_t tile, int rows, int64_t row_stride, int64_t voxel_stride, int64_t voxels) {
  constexpr int N = Vector<A>::LANES;
  using V = typename Vector<A>::type;
  if (voxel_stride == 1) {
    for (int r = 0; r < rows; ++r) {
      T* line = to + r * row_stride;
      int64_t l = stream(line, from + r * tile, voxels);
      for (; l < voxels; ++l) line[l] = T(from[r * tile + l]);
    }
    return;
  }
  int r = 0;
  if (row_stride == 1)
    for (; r + N <= rows; r += N)
      for (int64_t l = 0; l < voxels; l += N) {
        V v[N];
        for (int i = 0; i < N; ++i) v[i] = Vector<A>::load(from + (r + i) * tile + l);
        transpose<V, N>(v);
        const int some = int(std::min<int64_t>(N, voxels - l));
        for (int i = 0; i < some; ++i) store_as<A>(to + (l + i) * voxel_stride + r, v[i]);
      }
  for (; r < rows; ++r)
    for (int64_t l = 0; l < voxels; ++l) to[l * voxel_stride + r * row_stride] = T(from[r * tile + l]);
}

// --- What the next tile reads is asked for while this one is computed with, a little before every block.

class Ahead {
 public:
  void add(const char* from, int64_t runs, int64_t stride, int64_t bytes) { parts.push_back({from, runs, stride, bytes}); }

  void spread(int64_t blocks) {
    int64_t lines = 0;
    for (const Part& part : parts) lines += part.runs * (part.bytes / LINE + 1);
    burst = (lines + blocks - 1) / std::max<int64_t>(blocks, 1);
  }

  void operator()() {
    for (int64_t k = 0; k < burst && part < parts.size(); ++k) {
      __builtin_prefetch(parts[part].from + run * parts[part].stride + at, 0, 2);
      if ((at += LINE) < parts[part].bytes) continue;
      at = 0;
      if (++run == parts[part].runs) run = 0, ++part;
    }
  }

 private:
  struct Part {
    const char* from;
    int64_t runs, stride, bytes;
  };
  std::vector<Part> parts;
  size_t part = 0;
  int64_t run = 0, at = 0, burst = 0;
};

// --- Products, in blocks of as many sums as there are registers for.

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

template <class A, int M, int N = COLUMNS>
void gram_columns(int n, const A* a, const A* b, int64_t tile, int64_t voxels, double* out, int64_t stride) {
  if (n >= N)
    gram_block<A, M, N>(a, b, tile, voxels, out, stride);
  else if constexpr (N > 1)
    gram_columns<A, M, N - 1>(n, a, b, tile, voxels, out, stride);
}

template <class A, int M = ROWS>
void gram_rows(int m, const A* a, const A* b, int columns, int64_t tile, int64_t voxels, double* out, Ahead& ahead) {
  if (m >= M) {
    for (int j = 0; j < columns; j += COLUMNS) {
      ahead();
      gram_columns<A, M>(columns - j, a, b + j * tile, tile, voxels, out + j, columns);
    }
  } else if constexpr (M > 1) {
    gram_rows<A, M - 1>(m, a, b, columns, tile, voxels, out, ahead);
  }
}

// Vectors of voxels that a block of M rows takes at a time: as many as there are registers for and a tile has whole.
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

// `rows` rows in blocks of M, and what is left in smaller ones; STEP voxels, which stay close meanwhile.
template <class A, int M = ROWS, class Done>
void mix(int rows, const A* matrix, const A* x, int columns, const A* add, int64_t tile, A* out, Ahead& ahead,
         const Done& done, int first = 0) {
  constexpr int WIDTH = width<A, M>() * Vector<A>::LANES;
  for (; first + M <= rows; first += M) {
    for (int64_t l = 0; l < STEP; l += WIDTH) {
      ahead();
      mix_block<A, M>(matrix + first * columns, x + l, columns, add ? add + first * tile + l : nullptr, tile,
                      out + first * STEP + l);
    }
    done(first, M);
  }
  if constexpr (M > 1) mix<A, M - 1>(rows, matrix, x, columns, add, tile, out, ahead, done, first);
}

// --- Memory of a new map, from the system: in large pages, since in small ones that takes longer than all else.

class Fresh {
 public:
  Fresh(const Place& map, int64_t batch, int64_t length) {
#if defined(MADV_POPULATE_WRITE)
    const int64_t last = (batch - 1) * map.batch_stride + (map.rows - 1) * map.row_stride +
                         (length - 1) * map.voxel_stride;
    const int64_t begin = reinterpret_cast<int64_t>(map.data);
    first = (begin + PAGE - 1) / PAGE, end = (begin + (last + 1) * size_of(map.type)) / PAGE;
    unsigned char is_there = 1;
    if (first < end && mincore(at((first + end) / 2), 1, &is_there) == 0 && !is_there)
      madvise(at(first), (end - first) * PAGE, MADV_HUGEPAGE);
    else
      end = first;
#endif
  }

  // Each thread asks for its own share: of two that touch one page at a time, both would clear it.
  void get(int64_t share, int64_t shares) const {
#if defined(MADV_POPULATE_WRITE)
    const int64_t from = first + (end - first) * share / shares, until = first + (end - first) * (share + 1) / shares;
    if (from < until) madvise(at(from), (until - from) * PAGE, MADV_POPULATE_WRITE);
#endif
  }

 private:
  static constexpr int64_t PAGE = 1 << 21;
  static void* at(int64_t page) { return reinterpret_cast<void*>(page * PAGE); }
  int64_t first = 0, end = 0;
};

// --- The pass.

template <class A>
struct Pass {
  const Place* inputs;
  int n_inputs;
  const Gram* grams;
  int n_grams;
  const Mixture* mixtures;
  int n_mixtures;
  int64_t batch, length;

  int64_t rows = 0, most_out = 0, tile = 0, tiles = 0, blocks = 0;  // stacked; of a mixture; voxels of a tile; tiles of a sample
  std::vector<std::vector<A>> matrices;                 // of each mixture, in blocks of ROWS rows

  void prepare() {
    for (int k = 0; k < n_inputs; ++k) rows += inputs[k].rows;
    for (int k = 0; k < n_mixtures; ++k) {
      const Mixture& mixture = mixtures[k];
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
      matrices.push_back(std::move(to));
    }
    tile = std::max<int64_t>(1, TILE / int64_t(sizeof(A)) / rows / STEP) * STEP;
    tile = std::min(tile, (length + STEP - 1) / STEP * STEP);
    tiles = (length + tile - 1) / tile;
    for (int k = 0; k < n_grams; ++k)
      blocks += (grams[k].a_rows + ROWS - 1) / ROWS * int64_t((grams[k].b_rows + COLUMNS - 1) / COLUMNS);
    for (int k = 0; k < n_mixtures; ++k)
      blocks += (mixtures[k].out.rows + ROWS - 1) / ROWS * (tile / (COLUMNS * Vector<A>::LANES));
  }

  static void read_rows(A* to, int64_t tile, const Place& from, int64_t sample, int64_t start, int64_t voxels) {
    const int64_t offset = sample * from.batch_stride + start * from.voxel_stride;
    const auto get = [&](auto* data) {
      read(to, tile, data + offset, from.rows, from.row_stride, from.voxel_stride, voxels);
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

  Ahead next(int64_t t) const {
    const int64_t sample = t / tiles, start = t % tiles * tile, voxels = std::min(tile, length - start);
    Ahead ahead;
    for (int k = 0; k < n_inputs; ++k) {
      const Place& in = inputs[k];
      const int64_t size = size_of(in.type);
      const char* from = static_cast<const char*>(in.data) + (sample * in.batch_stride + start * in.voxel_stride) * size;
      if (in.type == ONES) continue;
      if (in.row_stride < in.voxel_stride) ahead.add(from, 1, 0, voxels * in.voxel_stride * size);
      else ahead.add(from, in.rows, in.row_stride * size, voxels * size);
    }
    ahead.spread(blocks);
    return ahead;
  }

  // The tiles from `first` to before `last`, counted through the batch; `sums` has the grams of sample `first / tiles`
  // and of those after it, one gram after the other.
  void run(int64_t first, int64_t last, std::vector<std::vector<double>>& sums) const {
    std::vector<A> space(rows * tile + most_out * STEP + LINE / sizeof(A));
    A* const stacked = reinterpret_cast<A*>((reinterpret_cast<uintptr_t>(space.data()) + LINE - 1) / LINE * LINE);
    A* const results = stacked + rows * tile;
    for (int64_t t = first; t < last; ++t) {
      const int64_t sample = t / tiles, start = t % tiles * tile, voxels = std::min(tile, length - start);
      const int64_t padded = (voxels + STEP - 1) / STEP * STEP;
      A* to = stacked;
      for (int k = 0; k < n_inputs; ++k) {
        read_rows(to, tile, inputs[k], sample, start, voxels);
        for (int r = 0; r < inputs[k].rows; ++r, to += tile) std::fill(to + voxels, to + padded, A(0));
      }
      Ahead ahead = next(t + 1 < last ? t + 1 : t);
      for (int k = 0; k < n_grams; ++k) {
        const Gram& g = grams[k];
        double* out = sums[k].data() + (sample - first / tiles) * g.a_rows * g.b_rows;
        for (int i = 0; i < g.a_rows; i += ROWS)
          gram_rows(g.a_rows - i, &stacked[(g.a + i) * tile], &stacked[g.b * tile], g.b_rows, tile, padded,
                    out + int64_t(i) * g.b_rows, ahead);
      }
      for (int k = 0; k < n_mixtures; ++k) {
        const Mixture& mixture = mixtures[k];
        const int m = mixture.out.rows, n = mixture.columns;
        const bool in_lines = mixture.out.voxel_stride == 1;
        for (int64_t l = 0; l < voxels; l += STEP) {
          const int64_t some = std::min(STEP, voxels - l);
          // Lines are written as soon as they are there, so that the memory has time for them during the next ones.
          const auto done = [&](int row, int count) {
            if (in_lines) write_rows(mixture.out, row, count, results + row * STEP, sample, start + l, some);
          };
          mix(m, &matrices[k][sample * m * n], stacked + mixture.first * tile + l, n,
              mixture.add < 0 ? nullptr : stacked + mixture.add * tile + l, tile, results, ahead, done);
          if (!in_lines) write_rows(mixture.out, 0, m, results, sample, start + l, some);
        }
      }
    }
#if defined(__AVX__)
    _mm_sfence();
#endif
  }

  void run_all(int threads) {
    prepare();
    std::vector<Fresh> fresh;
    for (int k = 0; k < n_mixtures; ++k) fresh.emplace_back(mixtures[k].out, batch, length);
    const int64_t all = batch * tiles;
    threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, all)));
    std::vector<std::vector<std::vector<double>>> sums(threads);
    std::vector<std::exception_ptr> errors(threads);
    const auto start_of = [&](int k) { return all * k / threads; };
    const auto work = [&](int k) {
      try {
        const int64_t first = start_of(k), last = start_of(k + 1);
        const int64_t samples = (last - 1) / tiles - first / tiles + 1;
        for (int g = 0; g < n_grams; ++g)
          sums[k].emplace_back(samples * grams[g].a_rows * grams[g].b_rows);
        for (const Fresh& map : fresh) map.get(k, threads);
        run(first, last, sums[k]);
      } catch (...) {
        errors[k] = std::current_exception();
      }
    };
    std::vector<std::thread> others;
    int started = 1;
    try {
      for (; started < threads; ++started) others.emplace_back(work, started);
    } catch (...) {  // no more threads to be had: this one does the rest
    }
    work(0);
    for (int k = started; k < threads; ++k) work(k);
    for (auto& other : others) other.join();
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
    // In the order of the voxels, so that the same number of threads gives the same sums.
    for (int k = 0; k < threads; ++k)
      for (int g = 0; g < n_grams; ++g) {
        double* out = grams[g].out + start_of(k) / tiles * grams[g].a_rows * grams[g].b_rows;
        for (const double sum : sums[k][g]) *out++ += sum;
      }
  }
};

template <class A>
int run_pass(const Place* inputs, int n_inputs, const Gram* grams, int n_grams, const Mixture* mixtures,
             int n_mixtures, int64_t batch, int64_t length, int threads) {
  try {
    Pass<A>{inputs, n_inputs, grams, n_grams, mixtures, n_mixtures, batch, length}.run_all(threads);
  } catch (const std::bad_alloc&) {
    return 1;
  } catch (...) {
    return 2;
  }
  return 0;
}

extern "C" int pass_in_float(const Place* inputs, int n_inputs, const Gram* grams, int n_grams, const Mixture* mixtures,
                             int n_mixtures, int64_t batch, int64_t length, int threads) {
  return run_pass<float>(inputs, n_inputs, grams, n_grams, mixtures, n_mixtures, batch, length, threads);
}

extern "C" int pass_in_double(const Place* inputs, int n_inputs, const Gram* grams, int n_grams,
                              const Mixture* mixtures, int n_mixtures, int64_t batch, int64_t length, int threads) {
  return run_pass<double>(inputs, n_inputs, grams, n_grams, mixtures, n_mixtures, batch, length, threads);
}
