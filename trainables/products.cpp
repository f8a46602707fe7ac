// Batches of matrix products in single precision, for processors with AVX-512 (see products.py), which are stored, or
// update weights at once (see updates.py).
//
// A product is computed in panels of 64 columns, a panel in tiles of 6 rows: their 24 vectors of sums stay in registers
// while one row of B after the other is added to them, times one number of A for each. B must have its columns side by
// side; if it has its rows so, as the transposed weights of a layer do, each panel is transposed first. The factors of
// a pack are in the third-level cache at best, so that what is needed next is fetched in advance. Each element is one
// sum in ascending order of the depth, whatever else is computed with it.

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <vector>

using Index = std::int64_t;

constexpr int WIDTH = 16;          // numbers in a vector
constexpr int PANEL = 4 * WIDTH;   // columns of a panel
constexpr Index AHEAD = PANEL;     // by which a transposition fetches in advance
constexpr __mmask16 FULL = 0xffff;

struct Matrix {
  const float* data;
  Index row, column;  // strides

  const float* at(Index i, Index j) const { return data + i * row + j * column; }
  Matrix from(Index i, Index j = 0) const { return {at(i, j), row, column}; }
};

static __mmask16 first(Index count) { return count >= WIDTH ? FULL : (1u << count) - 1; }

// What is fetched while a panel is multiplied, a line for each step of each tile through the depth: by the first four
// tiles the next panel of b, by others the a of the next item.
struct Ahead {
  Matrix b;           // the rows of the panel, or those of its transpose
  const float* a;     // null if the next panel is of the same item
  Index rows, depth;  // of a

  Matrix lines(Index tile) const {
    if (tile < 4) return b.from(0, tile);
    if (a && (tile - 4) * WIDTH < rows) return {a + (tile - 4) * WIDTH * depth, WIDTH, 1};
    return {b.data, 0, 0};
  }
};

// A product goes into a matrix of its own,
struct Store {
  float* data;
  Index row;  // stride

  Store from(Index i, Index j) const { return {data + i * row + j, row}; }
  void fetch(Index i, Index j) const { __builtin_prefetch(data + i * row + j, 1); }
  void put(Index i, Index j, __mmask16 mask, __m512 sums) const {
    _mm512_mask_storeu_ps(data + i * row + j, mask, sums);
  }
};

// or it is the gradient of weights, which it updates by a step of gradient descent with momentum.
struct Update {
  float *weights, *velocities;
  Index row;  // stride
  float momentum, rate, scale, decay;

  Update from(Index i, Index j) const {
    return {weights + i * row + j, velocities + i * row + j, row, momentum, rate, scale, decay};
  }
  void fetch(Index i, Index j) const {
    __builtin_prefetch(weights + i * row + j, 1);
    __builtin_prefetch(velocities + i * row + j, 1);
  }
  void put(Index i, Index j, __mmask16 mask, __m512 sums) const {
    float *const weight = weights + i * row + j, *const velocity = velocities + i * row + j;
    const __m512 old = _mm512_maskz_loadu_ps(mask, weight);
    __m512 vector = _mm512_mul_ps(_mm512_set1_ps(scale), sums);
    if (decay != 0) vector = _mm512_fmadd_ps(_mm512_set1_ps(decay), old, vector);
    vector = _mm512_fmadd_ps(_mm512_set1_ps(momentum), _mm512_maskz_loadu_ps(mask, velocity), vector);
    _mm512_mask_storeu_ps(velocity, mask, vector);
    _mm512_mask_storeu_ps(weight, mask, _mm512_fmadd_ps(_mm512_set1_ps(rate), vector, old));
  }
};

// Put ROWS rows of a b into c; the panel b has VECTORS vectors, and of the last one the columns in the mask. Fetch
// lines that are needed later, and the next rows of c.
template <int ROWS, int VECTORS, class Target>
static inline void multiply_tile(Matrix a, Matrix b, Matrix lines, Target c, Index depth, __mmask16 mask) {
  __m512 sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sums[i][v] = _mm512_setzero_ps();
  for (Index k = 0; k < depth; k++) {
    __builtin_prefetch(lines.at(k, 0));
    if (k < ROWS * VECTORS) c.fetch(ROWS + k / VECTORS, WIDTH * (k % VECTORS));
    __m512 vectors[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++)
      vectors[v] = _mm512_maskz_loadu_ps(v == VECTORS - 1 ? mask : FULL, b.at(k, 0) + WIDTH * v);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
      const __m512 factor = _mm512_set1_ps(*a.at(i, k));
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sums[i][v] = _mm512_fmadd_ps(factor, vectors[v], sums[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) c.put(i, WIDTH * v, v == VECTORS - 1 ? mask : FULL, sums[i][v]);
}

template <int VECTORS, class Target>
static void multiply_panel(Matrix a, Matrix b, Ahead ahead, Target c, __mmask16 mask) {
  constexpr int TILE = VECTORS == 4 ? 6 : 8;
  const Index rows = ahead.rows, depth = ahead.depth;
  Index i = 0, tile = 0;
  for (; i + TILE <= rows; i += TILE)
    multiply_tile<TILE, VECTORS>(a.from(i), b, ahead.lines(tile++), c.from(i, 0), depth, mask);
  for (; i + 2 <= rows; i += 2)
    multiply_tile<2, VECTORS>(a.from(i), b, ahead.lines(tile++), c.from(i, 0), depth, mask);
  if (i < rows) multiply_tile<1, VECTORS>(a.from(i), b, ahead.lines(tile), c.from(i, 0), depth, mask);
}

// Exchange the upper right and the lower left block of each 2 x 2 blocks of DISTANCE x DISTANCE numbers.
template <int DISTANCE>
static inline void swap_blocks(__m512 (&rows)[WIDTH]) {
  alignas(64) int low[WIDTH], high[WIDTH];
#pragma GCC unroll 16
  for (int j = 0; j < WIDTH; j++) {
    low[j] = j & DISTANCE ? j - DISTANCE + WIDTH : j;
    high[j] = j & DISTANCE ? j + WIDTH : j + DISTANCE;
  }
  const __m512i low_index = _mm512_load_si512(low), high_index = _mm512_load_si512(high);
#pragma GCC unroll 16
  for (int i = 0; i < WIDTH; i++) {
    if (i & DISTANCE) continue;
    const __m512 upper = rows[i], lower = rows[i + DISTANCE];
    rows[i] = _mm512_permutex2var_ps(upper, low_index, lower);
    rows[i + DISTANCE] = _mm512_permutex2var_ps(upper, high_index, lower);
  }
}

// Write the transpose of up to 16 rows and columns, a column side by side in memory, to rows of a panel.
static inline void transpose_block(Matrix b, Index rows, Index columns, float* panel) {
  __m512 vectors[WIDTH];
#pragma GCC unroll 16
  for (int j = 0; j < WIDTH; j++) {
    vectors[j] = j < columns ? _mm512_maskz_loadu_ps(first(rows), b.at(0, j)) : _mm512_setzero_ps();
    if (j < columns) _mm_prefetch(reinterpret_cast<const char*>(b.at(AHEAD, j)), _MM_HINT_T0);
  }
  swap_blocks<1>(vectors);
  swap_blocks<2>(vectors);
  swap_blocks<4>(vectors);
  swap_blocks<8>(vectors);
#pragma GCC unroll 16
  for (int i = 0; i < WIDTH; i++)
    if (i < rows) _mm512_storeu_ps(panel + i * PANEL, vectors[i]);
}

static Matrix transpose_panel(Matrix b, Index depth, Index columns, float* panel) {
  for (Index j = 0; j < columns; j += WIDTH)
    for (Index k = 0; k < depth; k += WIDTH)
      transpose_block(b.from(k, j), std::min<Index>(WIDTH, depth - k), std::min<Index>(WIDTH, columns - j),
                      panel + k * PANEL + j);
  return {panel, PANEL, 1};
}

template <class Target>
static void multiply(Matrix a, Matrix b, const float* next_a, const float* next_b, Target c, Index rows, Index depth,
                     Index columns, float* scratch) {
  for (Index j = 0; j < columns; j += PANEL) {
    const Index width = std::min<Index>(PANEL, columns - j), vectors = (width + WIDTH - 1) / WIDTH;
    const __mmask16 mask = first(width - WIDTH * (vectors - 1));
    const bool is_last = j + PANEL >= columns;
    Matrix panel = b.from(0, j), next{is_last ? next_b : b.at(0, j + PANEL), b.row, WIDTH};
    if (b.column != 1) {
      panel = transpose_panel(panel, depth, width, scratch);
      next = {next.data, WIDTH, WIDTH * depth};
    }
    const Ahead ahead{next, is_last ? next_a : nullptr, rows, depth};
    if (vectors == 1) multiply_panel<1>(a, panel, ahead, c.from(0, j), mask);
    if (vectors == 2) multiply_panel<2>(a, panel, ahead, c.from(0, j), mask);
    if (vectors == 3) multiply_panel<3>(a, panel, ahead, c.from(0, j), mask);
    if (vectors == 4) multiply_panel<4>(a, panel, ahead, c.from(0, j), mask);
  }
}

// Batches of factors, each with the strides of its item, row and column. One of the last two of b is 1.
struct Factors {
  const float* a;
  Index a_item, a_row, a_column;
  const float* b;
  Index b_item, b_row, b_column;
  Index rows, depth, columns;

  template <class Target>
  void multiply_item(Index i, Target c, std::vector<float>& scratch) const {
    scratch.resize(b_column == 1 ? 0 : depth * PANEL);
    multiply<Target>({a + i * a_item, a_row, a_column}, {b + i * b_item, b_row, b_column}, a + (i + 1) * a_item,
                     b + (i + 1) * b_item, c, rows, depth, columns, scratch.data());
  }
};

// Set c, contiguous, to the products of the matrices of a and b.
extern "C" void multiply_batch(const float* a, Index a_item, Index a_row, Index a_column, const float* b, Index b_item,
                               Index b_row, Index b_column, float* c, Index items, Index rows, Index depth,
                               Index columns) {
  const Factors factors{a, a_item, a_row, a_column, b, b_item, b_row, b_column, rows, depth, columns};
  std::vector<float> scratch;
  for (Index i = 0; i < items; i++) factors.multiply_item(i, Store{c + i * rows * columns, columns}, scratch);
}

// A number for each item; without data a default one.
struct Numbers {
  const float* data;
  Index stride;

  float at(Index i, float value = 0) const { return data ? data[i * stride] : value; }
};

// Update weights and velocities, contiguous, by these products: velocity = momentum velocity + scale product + decay
// weight, and weight += rate velocity, with the numbers of each item. Without a scale that is 1, without a decay 0.
extern "C" void update_batch(const float* a, Index a_item, Index a_row, Index a_column, const float* b, Index b_item,
                             Index b_row, Index b_column, float* weights, float* velocities, const float* momentum,
                             Index momentum_item, const float* rate, Index rate_item, const float* scale,
                             Index scale_item, const float* decay, Index decay_item, Index items, Index rows,
                             Index depth, Index columns) {
  const Factors factors{a, a_item, a_row, a_column, b, b_item, b_row, b_column, rows, depth, columns};
  const Numbers momenta{momentum, momentum_item}, rates{rate, rate_item}, scales{scale, scale_item};
  const Numbers decays{decay, decay_item};
  std::vector<float> scratch;
  for (Index i = 0; i < items; i++) {
    const Index start = i * rows * columns;
    const Update update{weights + start, velocities + start, columns,     momenta.at(i),
                        rates.at(i),     scales.at(i, 1),    decays.at(i)};
    factors.multiply_item(i, update, scratch);
  }
}
