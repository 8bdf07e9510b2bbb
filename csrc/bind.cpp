/* tidegate._core: the C interface for Python. Arrays are checked here, where their names are known; then the interpreter's
 * lock is released and the C function called. */
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "threads.h"
#include "tidegate.h"

namespace nb = nanobind;

namespace {

using Array = nb::ndarray<nb::ro>;       /* read */
using Output = nb::ndarray<>;            /* written */
using Shape = std::vector<int64_t>;
template <typename T>
using Maybe = std::optional<T>;

/* int64_t that may be NULL: -1 in a wanted shape means any size. */
constexpr int64_t ANY = -1;

std::string written(const Shape &shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + (shape[i] == ANY ? std::string("any") : std::to_string(shape[i]));
  return text + (shape.size() == 1 ? ",)" : ")");
}

/* Collects the arrays of a call, and refuses one that the core cannot take. */
class Arrays {
 public:
  const float *floats(const char *name, const Array &a, const Shape &wanted) {
    return static_cast<const float *>(check(name, a, nb::dtype<float>(), "float32", wanted, false));
  }
  const float *floats(const char *name, const Maybe<Array> &a, const Shape &wanted) {
    return a ? floats(name, *a, wanted) : nullptr;
  }
  const int64_t *integers(const char *name, const Maybe<Array> &a, const Shape &wanted) {
    return a ? static_cast<const int64_t *>(check(name, *a, nb::dtype<int64_t>(), "int64", wanted, false)) : nullptr;
  }
  const uint8_t *flags(const char *name, const Maybe<Array> &a, const Shape &wanted) {
    if (!a) return nullptr;
    const bool boolean = a->dtype() == nb::dtype<bool>();
    return static_cast<const uint8_t *>(
        check(name, *a, boolean ? nb::dtype<bool>() : nb::dtype<uint8_t>(), "bool or uint8", wanted, false));
  }
  float *out(const char *name, const Output &a, const Shape &wanted) {
    return static_cast<float *>(const_cast<void *>(check(name, Array(a), nb::dtype<float>(), "float32", wanted, true)));
  }
  float *out(const char *name, const Maybe<Output> &a, const Shape &wanted) { return a ? out(name, *a, wanted) : nullptr; }

  /* ValueError where an output shares memory with any other array. `same`: pairs of outputs and inputs that may be one. */
  void check_overlap(const std::vector<std::pair<const void *, const void *>> &same = {}) const {
    for (size_t i = 0; i < seen.size(); ++i)
      for (size_t j = 0; j < seen.size(); ++j) {
        const Seen &a = seen[i], &b = seen[j];
        if (!a.output || i == j || a.begin >= b.end || b.begin >= a.end) continue;
        if (std::find(same.begin(), same.end(), std::make_pair<const void *, const void *>(a.begin, b.begin)) != same.end() ||
            std::find(same.begin(), same.end(), std::make_pair<const void *, const void *>(b.begin, a.begin)) != same.end())
          continue;
        throw nb::value_error((std::string(a.name) + " shares memory with " + b.name +
                               ", but an output must have memory of its own: give it a new array.").c_str());
      }
  }

 private:
  struct Seen {
    const char *name, *begin, *end;
    bool output;
  };
  std::vector<Seen> seen;

  template <typename A>
  const void *check(const char *name, const A &a, nb::dlpack::dtype dtype, const char *kind, const Shape &wanted, bool output) {
    if (a.dtype() != dtype) throw nb::type_error((std::string(name) + " must be an array of " + kind + ".").c_str());
    if (a.device_type() != nb::device::cpu::value) throw nb::type_error((std::string(name) + " must lie on the CPU.").c_str());
    Shape found;
    for (size_t i = 0; i < a.ndim(); ++i) found.push_back(static_cast<int64_t>(a.shape(i)));
    bool fits = found.size() == wanted.size();
    for (size_t i = 0; fits && i < found.size(); ++i) fits = wanted[i] == ANY || wanted[i] == found[i];
    if (!fits)
      throw nb::value_error((std::string(name) + " has the shape " + written(found) + ", but " + written(wanted) + " was wanted.").c_str());
    int64_t stride = 1, size = 1;
    for (size_t i = found.size(); i-- > 0; stride *= found[i], size *= found[i])
      if (found[i] > 1 && a.stride(i) != stride)
        throw nb::value_error((std::string(name) + " must be contiguous, the last axis fastest: give a contiguous copy.").c_str());
    const char *begin = static_cast<const char *>(static_cast<const void *>(a.data()));
    seen.push_back({name, begin, begin + size * (dtype.bits / 8), output});
    return begin;
  }
};

void raise(const char *wrong) {
  if (wrong != nullptr) throw nb::value_error(wrong);
}

int64_t gates(int cell) {
  const int kind = cell & ~TIDEGATE_IDENTITY;
  if (kind < 0 || kind > TIDEGATE_GRU_RESET_BEFORE || cell == TIDEGATE_RNN_RELU + TIDEGATE_IDENTITY)
    throw nb::value_error(("There is no cell " + std::to_string(cell) + ": see csrc/tidegate.h.").c_str());
  return kind == TIDEGATE_LSTM ? 4 : kind >= TIDEGATE_GRU ? 3 : 1;
}

int64_t axis(const char *name, const Array &a, size_t ndim, size_t i) {
  if (a.ndim() != ndim)
    throw nb::value_error((std::string(name) + " has " + std::to_string(a.ndim()) + " axes, but " + std::to_string(ndim) + " were wanted.").c_str());
  return static_cast<int64_t>(a.shape(i));
}

/* The part that both directions share. */
tidegate_sequence sequence_of(Arrays &arrays, int cell, const Array &x, const Maybe<Array> &h_0, const Maybe<Array> &c_0,
                              const Array &weight_ih, const Array &weight_hh, const Maybe<Array> &fresh,
                              const Maybe<Array> &lengths) {
  tidegate_sequence s{};
  const int64_t G = gates(cell);
  s.cell = cell;
  s.T = axis("x", x, 3, 0), s.B = axis("x", x, 3, 1), s.I = axis("x", x, 3, 2), s.H = axis("weight_hh", weight_hh, 2, 1);
  s.x = arrays.floats("x", x, {s.T, s.B, s.I});
  s.h_0 = arrays.floats("h_0", h_0, {s.B, s.H}), s.c_0 = arrays.floats("c_0", c_0, {s.B, s.H});
  s.weight_ih = arrays.floats("weight_ih", weight_ih, {G * s.H, s.I});
  s.weight_hh = arrays.floats("weight_hh", weight_hh, {G * s.H, s.H});
  s.fresh = arrays.flags("fresh", fresh, {s.T, s.B}), s.lengths = arrays.integers("lengths", lengths, {s.B});
  return s;
}

void sequence_forward(int cell, Array x, Maybe<Array> h_0, Maybe<Array> c_0, Array weight_ih, Array weight_hh,
                      Maybe<Array> bias_ih, Maybe<Array> bias_hh, Maybe<Array> fresh, Maybe<Array> lengths, Output h,
                      Output h_T, Maybe<Output> c_T, Maybe<Output> saved, int threads) {
  Arrays arrays;
  tidegate_sequence s = sequence_of(arrays, cell, x, h_0, c_0, weight_ih, weight_hh, fresh, lengths);
  const int64_t rows = gates(cell) * s.H;
  s.bias_ih = arrays.floats("bias_ih", bias_ih, {rows}), s.bias_hh = arrays.floats("bias_hh", bias_hh, {rows});
  float *to_h = arrays.out("h", h, {s.T, s.B, s.H}), *to_h_T = arrays.out("h_T", h_T, {s.B, s.H});
  float *to_c_T = arrays.out("c_T", c_T, {s.B, s.H});
  float *to_saved = arrays.out("saved", saved, {std::max<int64_t>(0, tidegate_saved_size(cell, s.T, s.B, s.I, s.H))});
  arrays.check_overlap();
  const tidegate_threads team = tidegate::make_threads(threads);
  const char *wrong;
  {
    nb::gil_scoped_release released;
    wrong = tidegate_sequence_forward(&s, to_h, to_h_T, to_c_T, to_saved, &team);
  }
  raise(wrong);
}

void sequence_backward(int cell, Array x, Maybe<Array> h_0, Maybe<Array> c_0, Array weight_ih, Array weight_hh,
                       Maybe<Array> fresh, Maybe<Array> lengths, Array h, Array saved, Maybe<Array> d_h, Maybe<Array> d_h_T,
                       Maybe<Array> d_c_T, Maybe<Output> d_x, Maybe<Output> d_h_0, Maybe<Output> d_c_0,
                       Maybe<Output> d_weight_ih, Maybe<Output> d_weight_hh, Maybe<Output> d_bias_ih,
                       Maybe<Output> d_bias_hh, int threads) {
  Arrays arrays;
  const tidegate_sequence s = sequence_of(arrays, cell, x, h_0, c_0, weight_ih, weight_hh, fresh, lengths);
  const int64_t rows = gates(cell) * s.H;
  const Shape state = {s.B, s.H};
  tidegate_gradients_in in{};
  in.h = arrays.floats("h", h, {s.T, s.B, s.H});
  in.saved = arrays.floats("saved", saved, {std::max<int64_t>(0, tidegate_saved_size(cell, s.T, s.B, s.I, s.H))});
  in.d_h = arrays.floats("d_h", d_h, {s.T, s.B, s.H});
  in.d_h_T = arrays.floats("d_h_T", d_h_T, state), in.d_c_T = arrays.floats("d_c_T", d_c_T, state);
  tidegate_gradients_out out{};
  out.d_x = arrays.out("d_x", d_x, {s.T, s.B, s.I});
  out.d_h_0 = arrays.out("d_h_0", d_h_0, state), out.d_c_0 = arrays.out("d_c_0", d_c_0, state);
  out.d_weight_ih = arrays.out("d_weight_ih", d_weight_ih, {rows, s.I});
  out.d_weight_hh = arrays.out("d_weight_hh", d_weight_hh, {rows, s.H});
  out.d_bias_ih = arrays.out("d_bias_ih", d_bias_ih, {rows}), out.d_bias_hh = arrays.out("d_bias_hh", d_bias_hh, {rows});
  arrays.check_overlap();
  const tidegate_threads team = tidegate::make_threads(threads);
  const char *wrong;
  {
    nb::gil_scoped_release released;
    wrong = tidegate_sequence_backward(&s, &in, &out, &team);
  }
  raise(wrong);
}

void linear_cross_entropy(Array x, Array W, Maybe<Array> b, Array targets, Maybe<Array> weight, int64_t ignore_index,
                          float label_smoothing, Output losses, Maybe<Output> d_x, Maybe<Output> d_W, Maybe<Output> d_b,
                          int threads) {
  Arrays arrays;
  tidegate_linear_cross_entropy p{};
  p.N = axis("x", x, 2, 0), p.H = axis("x", x, 2, 1), p.V = axis("W", W, 2, 0);
  p.x = arrays.floats("x", x, {p.N, p.H}), p.W = arrays.floats("W", W, {p.V, p.H}), p.b = arrays.floats("b", b, {p.V});
  p.targets = arrays.integers("targets", Maybe<Array>(targets), {p.N}), p.weight = arrays.floats("weight", weight, {p.N});
  p.ignore_index = ignore_index, p.label_smoothing = label_smoothing;
  float *to_losses = arrays.out("losses", losses, {p.N}), *to_d_x = arrays.out("d_x", d_x, {p.N, p.H});
  float *to_d_W = arrays.out("d_W", d_W, {p.V, p.H}), *to_d_b = arrays.out("d_b", d_b, {p.V});
  arrays.check_overlap();
  const tidegate_threads team = tidegate::make_threads(threads);
  const char *wrong;
  {
    nb::gil_scoped_release released;
    wrong = tidegate_linear_cross_entropy_run(&p, to_losses, to_d_x, to_d_W, to_d_b, &team);
  }
  raise(wrong);
}

using LayerArrays = std::tuple<Array, Array, Maybe<Array>, Maybe<Array>, Maybe<Array>>;

class Decoder {
 public:
  Decoder(int cell, const std::vector<LayerArrays> &stack, bool residual, float eps) : layers(static_cast<int64_t>(stack.size())) {
    if (stack.empty()) throw nb::value_error("layers is empty, but a decoder has at least one.");
    const int64_t G = gates(cell);
    H = axis("weight_hh", std::get<1>(stack[0]), 2, 1), I = axis("weight_ih", std::get<0>(stack[0]), 2, 1);
    Arrays arrays;
    std::vector<tidegate_layer> given;
    for (size_t i = 0; i < stack.size(); ++i) {
      const auto &[weight_ih, weight_hh, bias_ih, bias_hh, norm] = stack[i];
      const int64_t inputs = i == 0 ? I : H;
      given.push_back({arrays.floats("weight_ih", weight_ih, {G * H, inputs}), arrays.floats("weight_hh", weight_hh, {G * H, H}),
                       arrays.floats("bias_ih", bias_ih, {G * H}), arrays.floats("bias_hh", bias_hh, {G * H}),
                       arrays.floats("norm", norm, {inputs})});
    }
    const char *wrong = nullptr;
    decoder = tidegate_decoder_new(cell, static_cast<int>(layers), I, H, given.data(), residual ? 1 : 0, eps, &wrong);
    raise(wrong);
  }
  Decoder(const Decoder &) = delete;
  ~Decoder() { tidegate_decoder_free(decoder); }

  void step(Array x, Array h, Maybe<Array> c, Output y, Output h_after, Maybe<Output> c_after, int threads) const {
    Arrays arrays;
    const int64_t B = axis("x", x, 2, 0);
    const Shape state = {layers, B, H};
    const float *from_x = arrays.floats("x", x, {B, I}), *from_h = arrays.floats("h", h, state), *from_c = arrays.floats("c", c, state);
    float *to_y = arrays.out("y", y, {B, H}), *to_h = arrays.out("h_after", h_after, state), *to_c = arrays.out("c_after", c_after, state);
    arrays.check_overlap({{to_h, from_h}, {to_c, from_c}});
    const tidegate_threads team = tidegate::make_threads(threads);
    const char *wrong;
    {
      nb::gil_scoped_release released;
      wrong = tidegate_decoder_step(decoder, B, from_x, from_h, from_c, to_y, to_h, to_c, &team);
    }
    raise(wrong);
  }

 private:
  int64_t layers, H = 0, I = 0;
  tidegate_decoder *decoder = nullptr;
};

double peak_flops(double seconds, int threads) {
  const tidegate_threads team = tidegate::make_threads(threads);
  nb::gil_scoped_release released;
  return tidegate_peak_flops(seconds, &team);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The native core of Tidegate; csrc/tidegate.h describes each function and its arrays.";
  m.def("isa", &tidegate_isa, "The instruction set whose kernels run, or None.");
  m.def("isas", &tidegate_isas, "All that can run here, best first, separated by spaces.");
  m.def("isa_reason", &tidegate_isa_reason, "Why isa() is what it is.");
  m.def("threads_name", &tidegate::threads_name, "What runs the threads: an OpenMP runtime of the process, or our own pool.");
  m.def("peak_flops", &peak_flops, nb::arg("seconds"), nb::arg("threads"), "float32 operations a second, from registers alone.");
  m.def("saved_size", [](int cell, int64_t T, int64_t B, int64_t I, int64_t H) {
    gates(cell);
    const int64_t size = tidegate_saved_size(cell, T, B, I, H);
    if (size < 0) throw nb::value_error("T, B, I and H must each be at least 1 and not too large.");
    return size;
  }, nb::arg("cell"), nb::arg("T"), nb::arg("B"), nb::arg("I"), nb::arg("H"), "Floats that forward hands to backward.");
  m.def("sequence_forward", &sequence_forward, nb::arg("cell"), nb::arg("x"), nb::arg("h_0").none(), nb::arg("c_0").none(),
        nb::arg("weight_ih"), nb::arg("weight_hh"), nb::arg("bias_ih").none(), nb::arg("bias_hh").none(),
        nb::arg("fresh").none(), nb::arg("lengths").none(), nb::arg("h"), nb::arg("h_T"), nb::arg("c_T").none(),
        nb::arg("saved").none(), nb::arg("threads"));
  m.def("sequence_backward", &sequence_backward, nb::arg("cell"), nb::arg("x"), nb::arg("h_0").none(), nb::arg("c_0").none(),
        nb::arg("weight_ih"), nb::arg("weight_hh"), nb::arg("fresh").none(), nb::arg("lengths").none(), nb::arg("h"),
        nb::arg("saved"), nb::arg("d_h").none(), nb::arg("d_h_T").none(), nb::arg("d_c_T").none(), nb::arg("d_x").none(),
        nb::arg("d_h_0").none(), nb::arg("d_c_0").none(), nb::arg("d_weight_ih").none(), nb::arg("d_weight_hh").none(),
        nb::arg("d_bias_ih").none(), nb::arg("d_bias_hh").none(), nb::arg("threads"));
  m.def("linear_cross_entropy", &linear_cross_entropy, nb::arg("x"), nb::arg("W"), nb::arg("b").none(), nb::arg("targets"),
        nb::arg("weight").none(), nb::arg("ignore_index"), nb::arg("label_smoothing"), nb::arg("losses"),
        nb::arg("d_x").none(), nb::arg("d_W").none(), nb::arg("d_b").none(), nb::arg("threads"));
  nb::class_<Decoder>(m, "Decoder")
      .def(nb::init<int, const std::vector<LayerArrays> &, bool, float>(), nb::arg("cell"), nb::arg("layers"),
           nb::arg("residual"), nb::arg("eps"))
      .def("step", &Decoder::step, nb::arg("x"), nb::arg("h"), nb::arg("c").none(), nb::arg("y"), nb::arg("h_after"),
           nb::arg("c_after").none(), nb::arg("threads"));
}
