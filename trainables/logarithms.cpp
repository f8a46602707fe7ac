// Extrema and floors of concatenated tensors of logarithms, for processors with AVX-512 (see logarithms.py).

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

using Index = std::int64_t;

constexpr int WIDTH = 16;        // numbers in a vector
constexpr Index SAMPLE = 128;    // size of a sample
constexpr std::uint32_t GOLDEN = 2654435769u;  // 2^32 by the golden ratio: its multiples modulo 2^32 are spread evenly
constexpr Index MARGIN = 17;     // ranks in a sample, three standard deviations of that of a median
constexpr Index FEW = 1024;      // up to this many are not sampled

// Rows of `size` numbers, each `stride` after the one before.
struct Numbers {
  const float* data;
  Index rows, size, stride;

  Index count() const { return rows * size; }
  float operator[](Index k) const { return data[k / size * stride + k % size]; }
};

struct Extrema {
  float low, high;  // of the numbers that are not nan
  bool has_nan;
};

// Call f(vector, mask) for all numbers, of each vector for those in the mask.
template <typename Function>
static inline void for_each_vector(Numbers numbers, Function f) {
  for (Index row = 0; row < numbers.rows; row++) {
    const float* data = numbers.data + row * numbers.stride;
    Index i = 0;
    for (; i + WIDTH <= numbers.size; i += WIDTH) f(_mm512_loadu_ps(data + i), __mmask16(0xffff));
    const __mmask16 mask = (1u << (numbers.size - i)) - 1;
    if (mask) f(_mm512_maskz_loadu_ps(mask, data + i), mask);
  }
}

static Extrema find_extrema(Numbers numbers) {
  __m512 low = _mm512_set1_ps(INFINITY), high = _mm512_set1_ps(-INFINITY);
  __mmask16 nan = 0;
  for_each_vector(numbers, [&](__m512 vector, __mmask16 mask) {
    low = _mm512_mask_min_ps(low, mask, vector, low);  // low, where vector is nan
    high = _mm512_mask_max_ps(high, mask, vector, high);
    nan |= _mm512_cmp_ps_mask(vector, vector, _CMP_UNORD_Q);
  });
  return {_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), nan != 0};
}

static Index count_above(Numbers numbers, float limit) {
  const __m512 limits = _mm512_set1_ps(limit);
  Index count = 0;
  for_each_vector(numbers, [&](__m512 vector, __mmask16 mask) {
    count += _mm_popcnt_u32(_mm512_mask_cmp_ps_mask(mask, vector, limits, _CMP_GT_OQ));
  });
  return count;
}

// Copy the numbers in [low, high]; return how many there are, and how many are below.
static std::pair<Index, Index> copy_between(Numbers numbers, float low, float high, float* copies) {
  const __m512 lows = _mm512_set1_ps(low), highs = _mm512_set1_ps(high);
  Index inside = 0, below = 0;
  for_each_vector(numbers, [&](__m512 vector, __mmask16 mask) {
    const __mmask16 is_below = _mm512_mask_cmp_ps_mask(mask, vector, lows, _CMP_LT_OQ);
    const __mmask16 is_inside = _mm512_mask_cmp_ps_mask(mask & ~is_below, vector, highs, _CMP_LE_OQ);
    _mm512_storeu_ps(copies + inside, _mm512_maskz_compress_ps(is_inside, vector));
    inside += _mm_popcnt_u32(is_inside);
    below += _mm_popcnt_u32(is_below);
  });
  return {inside, below};
}

// Return the number of a rank, from 0 in ascending order. It is looked for between two numbers of a sample, which
// enclose it but for a few cases in a thousand, and then among those between them (Floyd and Rivest, Communications of
// the ACM 18(3), 1975). Where this does not halve the numbers, the library's selection ends it.
static float order_statistic(Numbers numbers, Index rank) {
  const Index most = numbers.count() + WIDTH;
  std::unique_ptr<float[]> copies(new float[most]), others(new float[most]);
  float sample[SAMPLE];
  while (numbers.count() > FEW) {
    for (Index i = 0; i < SAMPLE; i++) sample[i] = numbers[std::uint32_t(i * GOLDEN) * numbers.count() >> 32];
    std::sort(sample, sample + SAMPLE);
    const Index middle = rank * SAMPLE / numbers.count();
    const float low = sample[std::max<Index>(middle - MARGIN, 0)];
    const float high = sample[std::min(middle + MARGIN, SAMPLE - 1)];
    const auto [inside, below] = copy_between(numbers, low, high, copies.get());
    if (rank < below || rank >= below + inside) break;
    if (low == high) return low;
    const bool halves = 2 * inside < numbers.count();
    numbers = {copies.get(), 1, inside, inside};
    rank -= below;
    copies.swap(others);
    if (!halves) break;
  }
  for (Index i = 0; i < numbers.count(); i++) copies[i] = numbers[i];
  std::nth_element(copies.get(), copies.get() + rank, copies.get() + numbers.count());
  return copies[rank];
}

// Set results [3, tensors] to the lowest and the highest logarithm of each tensor and to its floor as `log_floors`; of
// a tensor with a nan, all are nan. `sizes` split the columns of the logarithms, [rows, columns].
extern "C" void find_log_floors(const float* logs, Index rows, Index columns, const Index* sizes, Index tensors,
                                double log_ratio, double log_minimum, double* results) {
  for (Index t = 0; t < tensors; logs += sizes[t++], results++) {
    const Numbers numbers{logs, rows, sizes[t], columns};
    const Extrema extrema = find_extrema(numbers);
    const double low = extrema.has_nan ? NAN : extrema.low, high = extrema.has_nan ? NAN : extrema.high;
    double& floor = results[2 * tensors];
    results[0] = floor = low, results[tensors] = high;
    if (extrema.has_nan || low >= std::max(high + log_ratio, log_minimum)) continue;
    if (low >= log_minimum && 2 * count_above(numbers, low - log_ratio) <= numbers.count()) continue;
    floor = std::max({log_ratio + order_statistic(numbers, (numbers.count() - 1) / 2), log_minimum, low});
  }
}
