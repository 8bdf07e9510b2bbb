/* One step through a stack of layers, for reading and writing token by token: every weight is read once, so the time is
 * that of bringing the weights to the core. They are packed when the decoder is made. */
#ifndef TIDEGATE_DECODE_H
#define TIDEGATE_DECODE_H

#include <math.h>

#include "gemm.h"
#include "point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

struct PackedLayer {
  int64_t I16;
  size_t weights_x, weights_h, biases, norm;
  bool has_norm;
};

struct DecoderBase {
  int64_t I, H, U;
  int layers;
  bool residual, has_c;
  float eps;
  Workspace space;
  PackedLayer *packed = nullptr;
  const char *(*step)(const DecoderBase &, int64_t, const float *, const float *, const float *, float *, float *, float *,
                      const tidegate_threads *);
  ~DecoderBase() { free(packed); }
};

template <typename Cell>
struct Decoder {
  static constexpr int H_PACKED = Cell::TWO_STAGES ? 3 : Cell::H_SLOTS;
  static constexpr int FEW = 64; /* lanes computed at once */

  static const char *make(DecoderBase &d, const tidegate_layer *stack) {
    d.packed = static_cast<PackedLayer *>(malloc(sizeof(PackedLayer) * static_cast<size_t>(d.layers)));
    if (d.packed == nullptr) return "There is not enough memory for the decoder's layers.";
    for (int i = 0; i < d.layers; ++i) {
      PackedLayer &layer = d.packed[i];
      layer.I16 = blocks_of(i == 0 ? d.I : d.H);
      layer.has_norm = stack[i].norm != nullptr;
      layer.weights_x = d.space.plan(Cell::X_SLOTS * d.U * columns_apart(layer.I16));
      layer.weights_h = d.space.plan(H_PACKED * d.U * columns_apart(d.U));
      layer.biases = d.space.plan(Cell::SLOTS * d.U * BLOCK);
      layer.norm = d.space.plan(layer.I16 * BLOCK);
    }
    if (!d.space.allocate()) return "There is not enough memory for the decoder's weights.";
    for (int i = 0; i < d.layers; ++i) pack(d, d.packed[i], stack[i], i == 0 ? d.I : d.H);
    d.step = step;
    return nullptr;
  }

  static void pack(const DecoderBase &d, const PackedLayer &layer, const tidegate_layer &from, int64_t I) {
    tidegate_sequence s{};
    s.T = s.B = 1, s.I = I, s.H = d.H;
    s.weight_ih = from.weight_ih, s.weight_hh = from.weight_hh, s.bias_ih = from.bias_ih, s.bias_hh = from.bias_hh;
    Forward<Cell> forward(s, nullptr, nullptr, nullptr, nullptr); /* packs as the sequence does, but into our memory */
    forward.space.memory = d.space.memory;
    forward.weights_x = layer.weights_x, forward.weights_h = layer.weights_h, forward.biases = layer.biases;
    forward.pack_weights({0, 1, nullptr});
    forward.space.memory = nullptr;
    for (int64_t k = 0; k < layer.I16; ++k)
      store_block(d.space.at(layer.norm) + k * BLOCK,
                  layer.has_norm ? load_part(from.norm + k * BLOCK, part_of(I, k)) : splat(1.0f));
  }

  /* What the members share during one call; B lanes, at most FEW. */
  struct Scratch {
    float *x, *input, *before, *gates, *k, *after, *c;
    Workspace space;
    bool make(const DecoderBase &d, int64_t B) {
      const int64_t I16 = blocks_of(d.I > d.H ? d.I : d.H), state = d.U * B * BLOCK;
      const size_t at[] = {space.plan(I16 * B * BLOCK), space.plan(I16 * B * BLOCK), space.plan(state),
                           space.plan(Cell::SLOTS * state), space.plan(state), space.plan(state), space.plan(2 * state)};
      if (!space.allocate()) return false;
      x = space.at(at[0]), input = space.at(at[1]), before = space.at(at[2]), gates = space.at(at[3]);
      k = space.at(at[4]), after = space.at(at[5]), c = space.at(at[6]);
      return true;
    }
  };

  static const char *step(const DecoderBase &d, int64_t B, const float *x, const float *h, const float *c, float *y,
                          float *h_after, float *c_after, const tidegate_threads *threads) {
    for (int64_t b = 0; b < B; b += FEW) {
      const int64_t some = B - b < FEW ? B - b : FEW;
      Scratch scratch;
      if (!scratch.make(d, some)) return "There is not enough memory for a step.";
      pack_rows(x + b * d.I, d.I, some, d.I, scratch.x, some * BLOCK);
      run_team(threads, static_cast<int>(d.U), [&](const Member &m) {
        for (int i = 0; i < d.layers; ++i) {
          const int64_t at = (i * B + b) * d.H;
          layer(d, i, m, scratch, some, h + at, Cell::HAS_C ? c + at : nullptr, y + b * d.H, h_after + at,
                Cell::HAS_C ? c_after + at : nullptr);
        }
      });
    }
    return nullptr;
  }

  static void normalise(const DecoderBase &d, const PackedLayer &layer, const Scratch &w, int64_t I, int64_t B) {
    for (int64_t b = 0; b < B; ++b) {
      float factor = 1.0f;
      if (layer.has_norm) {
        Block sum = splat(0.0f);
        for (int64_t k = 0; k < layer.I16; ++k) {
          const Block x = load_block(w.x + (k * B + b) * BLOCK);
          sum = fma(x, x, sum);
        }
        alignas(64) float parts[BLOCK];
        store_block(parts, sum);
        float total = 0.0f;
        for (float part : parts) total += part;
        factor = 1.0f / sqrtf(total / static_cast<float>(I) + d.eps);
      }
      for (int64_t k = 0; k < layer.I16; ++k) {
        const int64_t at = (k * B + b) * BLOCK;
        store_block(w.input + at, load_block(w.x + at) * splat(factor) * load_block(d.space.at(layer.norm) + k * BLOCK));
      }
    }
  }

  static void layer(const DecoderBase &d, int i, const Member &m, const Scratch &w, int64_t B, const float *h, const float *c,
                    float *y, float *h_after, float *c_after) {
    const PackedLayer &layer = d.packed[i];
    const int64_t I = i == 0 ? d.I : d.H;
    const Range units = share(d.U, m.thread, m.threads);
    if (m.thread == 0) normalise(d, layer, w, I, B); /* by one: it is short, and the others would wait for its sum */
    for (int64_t u = units.begin; u < units.end; ++u)
      for (int64_t b = 0; b < B; ++b) {
        store_block(w.before + (u * B + b) * BLOCK, load_part(h + b * d.H + u * BLOCK, part_of(d.H, u)));
        if (Cell::HAS_C) store_block(w.c + (u * B + b) * BLOCK, load_part(c + b * d.H + u * BLOCK, part_of(d.H, u)));
      }
    m.wait();
    Point p{};
    p.B = B, p.H = d.H, p.U = d.U, p.rows = B;
    p.gates = w.gates, p.h_before = w.before, p.c_before = w.c, p.c = w.c + d.U * B * BLOCK, p.k = w.k;
    p.h_after = w.after, p.h = h_after;
    multiply(d, layer, w, p, B, units);
    if constexpr (Cell::TWO_STAGES) {
      for (int64_t u = units.begin; u < units.end; ++u) Cell::first(p, u);
      m.wait();
      product(d.space.at(layer.weights_h), d, w.k, 2, units, p, B, Begin::accumulate, nullptr);
    }
    for (int64_t u = units.begin; u < units.end; ++u) {
      Cell::forward(p, u);
      const bool last = i + 1 == d.layers;
      for (int64_t b = 0; b < B; ++b) {
        const int64_t at = (u * B + b) * BLOCK, to = b * d.H + u * BLOCK;
        const int part = part_of(d.H, u);
        Block out = load_block(w.after + at);
        if (d.residual) out = out + load_block(w.x + at);
        store_block(w.x + at, out);
        if (last) store_part(y + to, out, part);
        if (Cell::HAS_C) store_part(c_after + to, load_block(p.c + at), part);
      }
    }
    m.wait();
  }

  static void product(const float *weights, const DecoderBase &d, const float *state, int64_t slot, Range units, const Point &p,
                      int64_t B, Begin how, const float *biases) {
    const int64_t K = columns_apart(d.U);
    rows_product({state, B * BLOCK, weights + ((slot - Cell::H_FIRST) * d.U + units.begin) * K, K, d.U, how,
                  how == Begin::bias ? biases + (slot * d.U + units.begin) * BLOCK : nullptr},
                 B, units.size(), {p.slot(static_cast<int>(slot), units.begin, 0), BLOCK, B * BLOCK});
  }

  static void multiply(const DecoderBase &d, const PackedLayer &layer, const Scratch &w, const Point &p, int64_t B, Range units) {
    const float *biases = d.space.at(layer.biases);
    for (int64_t slot = Cell::X_FIRST; slot < Cell::X_FIRST + Cell::X_SLOTS; ++slot) {
      const int64_t K = columns_apart(layer.I16);
      rows_product({w.input, B * BLOCK, d.space.at(layer.weights_x) + ((slot - Cell::X_FIRST) * d.U + units.begin) * K, K,
                    layer.I16, Begin::bias, biases + (slot * d.U + units.begin) * BLOCK},
                   B, units.size(), {p.slot(static_cast<int>(slot), units.begin, 0), BLOCK, B * BLOCK});
    }
    for (int64_t slot = Cell::H_FIRST; slot < Cell::H_FIRST + Cell::H_SLOTS; ++slot)
      product(d.space.at(layer.weights_h), d, w.before, slot, units, p, B,
              slot < Cell::X_FIRST ? Begin::bias : Begin::accumulate, biases);
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
