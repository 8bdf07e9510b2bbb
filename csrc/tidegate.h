/* The C interface of Tidegate's native core: recurrent layers, and a linear layer with cross-entropy, in float32.
 *
 * What holds for every function:
 * - Arrays are dense and row-major, the last axis fastest; T steps, B lanes, I inputs, H hidden units, G gates.
 * - Pointers need the alignment of their type and nothing more. They are read or written during the call alone; nothing
 *   is kept. An output overlaps no other array. Inputs may share memory.
 * - Every element of an output is written, whatever it held before; `saved` alone, which is opaque, may keep parts.
 * - A function returns NULL, or a sentence that says what was wrong (static storage); then no output is defined.
 * - Functions may be called from several threads at once. Memory for work space is kept between calls, within
 *   512 MiB.
 * - The same inputs and instruction set give the same bits, on any number of threads.
 */
#ifndef TIDEGATE_H
#define TIDEGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

/* What runs a task on several threads. The core starts no thread but through this.
 *
 * run calls task(context, thread, threads) once on each of `threads` threads at the same time, thread = 0 … threads - 1,
 * and returns when all have ended. It may run fewer threads than `wanted`, but all calls of one run see the same
 * `threads`, and all are under way at once, since they wait for each other. */
typedef void (*tidegate_task)(void *context, int thread, int threads);
typedef struct tidegate_threads {
  int wanted;                                                                     /* at least 1 */
  void (*run)(void *self, int wanted, tidegate_task task, void *context);         /* NULL: the calling thread alone */
  void *self;                                                                     /* handed to run; may be NULL */
} tidegate_threads;

/* ---- Which kernels run ------------------------------------------------------------------------------------------ */

/* The instruction set whose kernels run: "avx2", "avx512", "avx512_bf16" or "neon"; NULL where this CPU has none of
 * those that were compiled. Chosen once, at the first call; the environment variable TIDEGATE_ISA forces a lower one. */
const char *tidegate_isa(void);
/* All that this library holds and this CPU can run, best first, separated by spaces; static storage. */
const char *tidegate_isas(void);
/* Why tidegate_isa() is what it is, in one sentence; static storage. */
const char *tidegate_isa_reason(void);

/* Multiply-adds from registers alone for about `seconds` on all threads: the machine's own peak. Returns float32
 * operations a second (a multiply-add counts two), 0 where no kernel runs. */
double tidegate_peak_flops(double seconds, const tidegate_threads *threads);

/* ---- Recurrent layer over a sequence ---------------------------------------------------------------------------- */

typedef enum tidegate_cell {
  TIDEGATE_RNN_TANH = 0,         /* G = 1 */
  TIDEGATE_RNN_RELU = 1,         /* G = 1 */
  TIDEGATE_LSTM = 2,             /* G = 4: i f g o */
  TIDEGATE_GRU = 3,              /* G = 3: r z n, reset after the product */
  TIDEGATE_GRU_RESET_BEFORE = 4, /* G = 3: r z n, reset before the product */
  /* For tests alone: the cells with the identity in place of every sigma and tanh, so that small integers give exact
   * results. Add it to a cell. */
  TIDEGATE_IDENTITY = 16
} tidegate_cell;

/* One layer in one direction, and what it reads. */
typedef struct tidegate_sequence {
  int cell;                 /* a tidegate_cell */
  int64_t T, B, I, H;       /* each at least 1 */
  const float *x;           /* (T, B, I) */
  const float *h_0;         /* (B, H); NULL means zeros */
  const float *c_0;         /* (B, H), LSTM alone; NULL means zeros */
  const float *weight_ih;   /* (G·H, I), gates in the order above */
  const float *weight_hh;   /* (G·H, H) */
  const float *bias_ih;     /* (G·H,); NULL means zeros */
  const float *bias_hh;     /* (G·H,); NULL means zeros */
  const uint8_t *fresh;     /* (T, B): where not 0, lane b's state before step t is replaced by zeros; NULL: nowhere */
  const int64_t *lengths;   /* (B,) in 0 … T: lane b has so many steps. From there on its outputs are zeros, its state
                               stays, and no gradient flows; NULL: T for every lane */
} tidegate_sequence;

/* Number of floats that forward hands to backward; opaque in content, of no meaning to another ISA or
 * shape. -1 where the cell or a size is wrong. */
int64_t tidegate_saved_size(int cell, int64_t T, int64_t B, int64_t I, int64_t H);

/* Forward. h (T, B, H): every output; h_T (B, H) and c_T (B, H; LSTM alone, else NULL): the state after the last step;
 * saved: tidegate_saved_size floats, or NULL where no backward follows. */
const char *tidegate_sequence_forward(const tidegate_sequence *sequence, float *h, float *h_T, float *c_T, float *saved,
                                      const tidegate_threads *threads);

/* What backward reads beside the sequence itself. */
typedef struct tidegate_gradients_in {
  const float *h;       /* (T, B, H): forward's output */
  const float *saved;   /* what forward saved, unchanged */
  const float *d_h;     /* (T, B, H): gradient of the outputs; NULL means zeros */
  const float *d_h_T;   /* (B, H): gradient of the last state; NULL means zeros */
  const float *d_c_T;   /* (B, H), LSTM alone; NULL means zeros */
} tidegate_gradients_in;

/* Of a weight W = W_0 + B A the gradients of A and B, d_A = Bᵀ d_W and d_B = d_W Aᵀ, without d_W itself: of so low a rank
 * they cost a fraction of it. */
typedef struct tidegate_low_rank {
  int64_t rank;   /* at least 1 */
  const float *A; /* (rank, columns of W) */
  const float *B; /* (rows of W, rank) */
  float *d_A;     /* (rank, columns of W) */
  float *d_B;     /* (rows of W, rank) */
} tidegate_low_rank;

/* What backward writes: the gradient of each input, summed over steps and lanes for weights and biases. NULL: not
 * wanted, and where that saves work, not computed. */
typedef struct tidegate_gradients_out {
  float *d_x;         /* (T, B, I) */
  float *d_h_0;       /* (B, H) */
  float *d_c_0;       /* (B, H), LSTM alone */
  float *d_weight_ih; /* (G·H, I) */
  float *d_weight_hh; /* (G·H, H) */
  float *d_bias_ih;   /* (G·H,) */
  float *d_bias_hh;   /* (G·H,) */
  const tidegate_low_rank *low_rank_ih; /* of weight_ih */
  const tidegate_low_rank *low_rank_hh; /* of weight_hh */
} tidegate_gradients_out;

const char *tidegate_sequence_backward(const tidegate_sequence *sequence, const tidegate_gradients_in *in,
                                       const tidegate_gradients_out *out, const tidegate_threads *threads);

/* ---- Linear layer ----------------------------------------------------------------------------------------------- */

typedef struct tidegate_linear {
  int64_t N, I, O; /* each at least 1 */
  const float *x;  /* (N, I) */
  const float *W;  /* (O, I) */
  const float *b;  /* (O,); NULL means zeros */
} tidegate_linear;

/* y (N, O) = x Wᵀ + b. For few x: W is not packed. */
const char *tidegate_linear_run(const tidegate_linear *problem, float *y, const tidegate_threads *threads);

/* ---- Linear layer and softmax cross-entropy --------------------------------------------------------------------- */

/* losses[n] = weight[n] · Σ_v q_v · -ln softmax(W x_n + b)_v, where q is 1 - s at the target plus s / V everywhere
 * (s = label_smoothing). Rows whose target is ignore_index, and
 * rows of weight 0, count nothing, whatever they hold. */
typedef struct tidegate_linear_cross_entropy {
  int64_t N, H, V;          /* each at least 1; targets below 2^31 */
  const float *x;           /* (N, H) */
  const float *W;           /* (V, H) */
  const float *b;           /* (V,); NULL means zeros */
  const int64_t *targets;   /* (N,) in 0 … V - 1, or ignore_index */
  const float *weight;      /* (N,); NULL means ones */
  int64_t ignore_index;
  float label_smoothing;    /* in [0, 1] */
} tidegate_linear_cross_entropy;

/* Forward, and in the same pass the gradient of the sum of all losses: losses (N,), and d_x (N, H), d_W (V, H), d_b (V,)
 * each of which may be NULL. The logits of a block of rows exist at a time, never all. */
const char *tidegate_linear_cross_entropy_run(const tidegate_linear_cross_entropy *problem, float *losses, float *d_x,
                                              float *d_W, float *d_b, const tidegate_threads *threads);

/* ---- Decoding: one step through a stack of layers --------------------------------------------------------------- */

/* One layer of the stack. The arrays are copied when the decoder is made. */
typedef struct tidegate_layer {
  const float *weight_ih; /* (G·H, I) in the first layer, (G·H, H) in the others */
  const float *weight_hh; /* (G·H, H) */
  const float *bias_ih;   /* (G·H,); NULL means zeros */
  const float *bias_hh;   /* (G·H,); NULL means zeros */
  const float *norm;      /* (I or H,): the weight of an RMS normalization of the layer's input; NULL: none */
} tidegate_layer;

typedef struct tidegate_decoder tidegate_decoder;

/* Make a decoder of `layers` layers. residual: x + cell(norm(x)), which needs I = H; else cell(norm(x)). eps: what the
 * normalization adds to the mean square. Returns NULL and sets *error where that is not possible. */
tidegate_decoder *tidegate_decoder_new(int cell, int layers, int64_t I, int64_t H, const tidegate_layer *stack,
                                       int residual, float eps, const char **error);
void tidegate_decoder_free(tidegate_decoder *decoder);

/* One step for each of B lanes, all layers in one call. x (B, I); h and c (layers, B, H): the state before; y (B, H): what
 * leaves the last layer; h_after and c_after (layers, B, H): the state after, which may be the very arrays h and c.
 * c and c_after are NULL but for the LSTM. A decoder is only read: several threads may step it at once. */
const char *tidegate_decoder_step(const tidegate_decoder *decoder, int64_t B, const float *x, const float *h,
                                  const float *c, float *y, float *h_after, float *c_after,
                                  const tidegate_threads *threads);

#ifdef __cplusplus
}
#endif
#endif
