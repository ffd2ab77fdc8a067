// Convolutions of odd sizes, padded on some sides, in memory of exactly their size, by one and by five threads; to be
// built with sanitizers by tests/kernels/test_cpp.py, which defines SOURCE.
#include SOURCE

int main() {
  const int64_t c = 16, k = 32;
  for (int64_t d : {1, 19})
    for (int64_t h : {1, 2, 5})
      for (int64_t w : {1, 4, 7, 131})
        for (int64_t before : {0, 1})
          for (int threads : {1, 5}) {
            const int64_t n[3] = {d + before, h + before, w + 2 * before};
            std::vector<float> in(n[0] * n[1] * n[2] * c, 1.f), weights(PARTS * 3 * c * k), bias(k, 2.f), out(d * h * w * k);
            const Convolution it = {in.data(), {n[0], n[1], n[2]}, {n[1] * n[2] * c, n[2] * c, c},
                                    {before, before, before}, out.data(), {d, h, w}, weights.data(), bias.data(), c, k};
            if (convolve(&it, threads, nullptr)) return 1;
            for (const float x : out)
              if (x != 2.f) return 2;
          }
}
