/* tidegate._core: the C interface for Python. Arrays are checked here, where their names are known; then the interpreter's
 * lock is released and the C function called. */
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "choice.h"
#include "memory.h"
#include "threads.h"
#include "tidegate.h"

namespace nb = nanobind;

namespace {

/* Arrays come as they are, and not as nb::ndarray: nanobind's own refusal of a wrong argument names no argument. None
 * stands for NULL. */
using Array = nb::handle;
using Found = nb::ndarray<nb::ro>;
using Shape = std::initializer_list<int64_t>;

template <typename Sizes>
std::string written(const Sizes &sizes) {
  std::string text = "(";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + (sizes.size() == 1 ? ",)" : ")");
}

std::string written(nb::dlpack::dtype dtype) {
  static const char *const KINDS[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  const std::string kind = dtype.code < 7 ? KINDS[dtype.code] : "unknown ";
  return kind == "bool" ? kind : kind + std::to_string(dtype.bits);
}

[[noreturn]] void refuse(const std::string &why) { throw nb::value_error(why.c_str()); }
[[noreturn]] void refuse_type(const std::string &why) { throw nb::type_error(why.c_str()); }

/* The arrays of one call: refuses one that the core cannot take, and holds the others until the call is over. */
class Arrays {
 public:
  Arrays() { seen.reserve(32); }

  const float *floats(const char *name, Array a, Shape wanted) {
    return static_cast<const float *>(take(name, a, {nb::dtype<float>()}, "float32", wanted, false));
  }
  const int64_t *integers(const char *name, Array a, Shape wanted) {
    return static_cast<const int64_t *>(take(name, a, {nb::dtype<int64_t>()}, "int64", wanted, false));
  }
  const uint8_t *flags(const char *name, Array a, Shape wanted) {
    return static_cast<const uint8_t *>(
        take(name, a, {nb::dtype<bool>(), nb::dtype<uint8_t>()}, "bool or uint8", wanted, false));
  }
  float *out(const char *name, Array a, Shape wanted) {
    return static_cast<float *>(const_cast<void *>(take(name, a, {nb::dtype<float>()}, "float32", wanted, true)));
  }

  /* The sizes of an array that tells the others theirs. */
  static std::vector<int64_t> sizes(const char *name, Array a, size_t axes) {
    const Found found = cast(name, a, false);
    if (found.ndim() != axes)
      refuse(std::string(name) + " has " + std::to_string(found.ndim()) + " axes, but " + std::to_string(axes) +
             " are wanted: add or remove one.");
    return {found.shape_ptr(), found.shape_ptr() + axes};
  }

  /* ValueError where an output shares memory with any other array, but for the pairs of an output and an input that may
   * be the very same one. */
  void check_overlap(std::initializer_list<std::pair<const void *, const void *>> same = {}) const {
    for (const Seen &a : seen)
      for (const Seen &b : seen) {
        const bool apart = a.end <= b.begin || b.end <= a.begin || a.begin == a.end || b.begin == b.end;
        if (&a == &b || !a.output || apart) continue;
        if (!b.output && std::find(same.begin(), same.end(), std::pair<const void *, const void *>(a.begin, b.begin)) !=
                             same.end())
          continue;
        refuse(std::string(a.name) + " shares memory with " + b.name +
               ", but an output must have memory of its own: give it a new array.");
      }
  }

 private:
  struct Seen {
    const char *name, *begin, *end;
    bool output;
    Found array; /* keeps the memory */
  };
  std::vector<Seen> seen;

  static Found cast(const char *name, Array a, bool output) {
    if (nb::ndarray<> changeable; output && nb::try_cast(a, changeable)) return Found(changeable);
    Found found;
    if (!nb::try_cast(a, found))
      refuse_type(std::string(name) + " is a " + nb::inst_name(a).c_str() + ", but a NumPy array is wanted.");
    if (output) refuse(std::string(name) + " is read-only, but a result is written there: give a new array.");
    return found;
  }

  const void *take(const char *name, Array given, std::initializer_list<nb::dlpack::dtype> dtypes, const char *kind,
                   Shape wanted, bool output) {
    if (given.is_none()) return nullptr; /* the core says so where it needs this array */
    Found a = cast(name, given, output);
    if (std::find(dtypes.begin(), dtypes.end(), a.dtype()) == dtypes.end())
      refuse_type(std::string(name) + " has the dtype " + written(a.dtype()) + ", but " + kind +
                  " is wanted: convert it.");
    if (a.device_type() != nb::device::cpu::value)
      refuse_type(std::string(name) + " lies on another device, but the CPU is wanted: copy it there.");
    const auto *found = a.shape_ptr();
    if (a.ndim() != wanted.size() || !std::equal(wanted.begin(), wanted.end(), found))
      refuse(std::string(name) + " has the shape " + written(std::vector<int64_t>(found, found + a.ndim())) + ", but " +
             written(wanted) + " is wanted.");
    int64_t dense = 1;
    for (size_t i = a.ndim(); i-- > 0; dense *= found[i])
      if (found[i] > 1 && a.stride(i) != dense)
        refuse(std::string(name) + " has a stride of " + std::to_string(a.stride(i)) + " on axis " + std::to_string(i) +
               ", but " + std::to_string(dense) + " is wanted: make it contiguous with numpy.ascontiguousarray.");
    const char *begin = static_cast<const char *>(a.data());
    seen.push_back({name, begin, begin + a.nbytes(), output, std::move(a)});
    return begin;
  }
};

void raise(const char *wrong) {
  if (wrong != nullptr) throw nb::value_error(wrong);
}

double product(Shape sizes) {
  double found = 1; /* not an integer: sizes are yet to be checked */
  for (const int64_t size : sizes) found *= static_cast<double>(size);
  return found;
}

constexpr int MOST_THREADS = 4096; /* where more are asked for, OpenMP ends the process */

tidegate_threads team_of(int threads) {
  if (threads > MOST_THREADS || threads < -MOST_THREADS)
    refuse("threads is " + std::to_string(threads) + ", but at most " + std::to_string(MOST_THREADS) +
           " are possible.");
  return tidegate::make_threads(threads < 0 ? -threads : threads);
}

/* Call the core, without the interpreter's lock, on so many threads; where `threads` is negative, on one or on -threads,
 * whichever proves faster for calls of this kind and size. work: about how many multiply-adds the call takes. */
template <typename Call>
void on_threads(tidegate::Kind kind, double work, int threads, Call call) {
  const tidegate_threads all = team_of(threads);
  nb::gil_scoped_release release;
  const char *wrong = nullptr;
  if (threads >= -1) {
    wrong = call(&all);
  } else {
    tidegate::Choice &choice = tidegate::choice_of(kind, work);
    const bool several = choice.several();
    const tidegate_threads team = several ? all : tidegate::make_threads(1);
    const auto begin = std::chrono::steady_clock::now();
    wrong = call(&team);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    choice.took(several, work, took.count());
  }
  if (wrong == nullptr) return;
  nb::gil_scoped_acquire acquire;
  raise(wrong);
}

/* Call the core without the interpreter's lock. */
template <typename Call>
auto released(Call call) {
  nb::gil_scoped_release release;
  return call();
}

int64_t gates(int cell) {
  const int kind = cell & ~TIDEGATE_IDENTITY;
  if (kind < 0 || kind > TIDEGATE_GRU_RESET_BEFORE || cell == TIDEGATE_RNN_RELU + TIDEGATE_IDENTITY)
    refuse("There is no cell " + std::to_string(cell) + ": tidegate.native.CELLS has the numbers.");
  return kind == TIDEGATE_LSTM ? 4 : kind >= TIDEGATE_GRU ? 3 : 1;
}

int64_t saved_size(int cell, int64_t T, int64_t B, int64_t I, int64_t H) {
  gates(cell);
  const int64_t size = tidegate_saved_size(cell, T, B, I, H);
  if (size >= 0) return size;
  if (tidegate_isa() == nullptr) raise(tidegate_isa_reason());
  refuse("T, B, I, H are " + written(std::vector<int64_t>{T, B, I, H}) +
         ", but each must be at least 1, and not so large that no memory would hold the arrays.");
}

/* The part that both directions share. */
tidegate_sequence sequence_of(Arrays &arrays, int cell, Array x, Array h_0, Array c_0, Array weight_ih, Array weight_hh,
                              Array fresh, Array lengths) {
  tidegate_sequence s{};
  const int64_t rows_of_a_gate = gates(cell);
  const auto sizes = Arrays::sizes("x", x, 3);
  s.cell = cell, s.T = sizes[0], s.B = sizes[1], s.I = sizes[2], s.H = Arrays::sizes("weight_hh", weight_hh, 2)[1];
  const int64_t rows = rows_of_a_gate * s.H;
  s.x = arrays.floats("x", x, {s.T, s.B, s.I});
  s.h_0 = arrays.floats("h_0", h_0, {s.B, s.H});
  s.c_0 = arrays.floats("c_0", c_0, {s.B, s.H});
  s.weight_ih = arrays.floats("weight_ih", weight_ih, {rows, s.I});
  s.weight_hh = arrays.floats("weight_hh", weight_hh, {rows, s.H});
  s.fresh = arrays.flags("fresh", fresh, {s.T, s.B});
  s.lengths = arrays.integers("lengths", lengths, {s.B});
  return s;
}

double work_of(const tidegate_sequence &s) { return product({s.T, s.B, gates(s.cell), s.H, s.I + s.H}); }

void sequence_forward(int cell, Array x, Array h_0, Array c_0, Array weight_ih, Array weight_hh, Array bias_ih,
                      Array bias_hh, Array fresh, Array lengths, Array h, Array h_T, Array c_T, Array saved,
                      int threads) {
  Arrays arrays;
  tidegate_sequence s = sequence_of(arrays, cell, x, h_0, c_0, weight_ih, weight_hh, fresh, lengths);
  const int64_t rows = gates(cell) * s.H;
  s.bias_ih = arrays.floats("bias_ih", bias_ih, {rows});
  s.bias_hh = arrays.floats("bias_hh", bias_hh, {rows});
  float *to_h = arrays.out("h", h, {s.T, s.B, s.H});
  float *to_h_T = arrays.out("h_T", h_T, {s.B, s.H});
  float *to_c_T = arrays.out("c_T", c_T, {s.B, s.H});
  float *to_saved = arrays.out("saved", saved, {saved_size(cell, s.T, s.B, s.I, s.H)});
  arrays.check_overlap();
  on_threads(tidegate::Kind::forward, work_of(s), threads, [&](const tidegate_threads *team) {
    return tidegate_sequence_forward(&s, to_h, to_h_T, to_c_T, to_saved, team);
  });
}

/* A, B, d_A, d_B of a weight that has so many rows and columns; None: NULL. */
const tidegate_low_rank *low_rank_of(Arrays &arrays, const char *name, Array given, int64_t rows, int64_t columns,
                                     tidegate_low_rank &to) {
  if (given.is_none()) return nullptr;
  nb::tuple four;
  if (!nb::try_cast(given, four) || four.size() != 4) refuse(std::string(name) + " must be a tuple of A, B, d_A and d_B.");
  to.rank = Arrays::sizes("A", four[0], 2)[0];
  to.A = arrays.floats("A", four[0], {to.rank, columns}), to.B = arrays.floats("B", four[1], {rows, to.rank});
  to.d_A = arrays.out("d_A", four[2], {to.rank, columns}), to.d_B = arrays.out("d_B", four[3], {rows, to.rank});
  return &to;
}

void sequence_backward(int cell, Array x, Array h_0, Array c_0, Array weight_ih, Array weight_hh, Array fresh,
                       Array lengths, Array h, Array saved, Array d_h, Array d_h_T, Array d_c_T, Array d_x, Array d_h_0,
                       Array d_c_0, Array d_weight_ih, Array d_weight_hh, Array d_bias_ih, Array d_bias_hh,
                       int threads, Array low_rank_ih, Array low_rank_hh) {
  Arrays arrays;
  const tidegate_sequence s = sequence_of(arrays, cell, x, h_0, c_0, weight_ih, weight_hh, fresh, lengths);
  const int64_t rows = gates(cell) * s.H;
  tidegate_gradients_in in{};
  in.h = arrays.floats("h", h, {s.T, s.B, s.H});
  in.saved = arrays.floats("saved", saved, {saved_size(cell, s.T, s.B, s.I, s.H)});
  in.d_h = arrays.floats("d_h", d_h, {s.T, s.B, s.H});
  in.d_h_T = arrays.floats("d_h_T", d_h_T, {s.B, s.H});
  in.d_c_T = arrays.floats("d_c_T", d_c_T, {s.B, s.H});
  tidegate_gradients_out out{};
  out.d_x = arrays.out("d_x", d_x, {s.T, s.B, s.I});
  out.d_h_0 = arrays.out("d_h_0", d_h_0, {s.B, s.H});
  out.d_c_0 = arrays.out("d_c_0", d_c_0, {s.B, s.H});
  out.d_weight_ih = arrays.out("d_weight_ih", d_weight_ih, {rows, s.I});
  out.d_weight_hh = arrays.out("d_weight_hh", d_weight_hh, {rows, s.H});
  out.d_bias_ih = arrays.out("d_bias_ih", d_bias_ih, {rows});
  out.d_bias_hh = arrays.out("d_bias_hh", d_bias_hh, {rows});
  tidegate_low_rank ih{}, hh{};
  out.low_rank_ih = low_rank_of(arrays, "low_rank_ih", low_rank_ih, rows, s.I, ih);
  out.low_rank_hh = low_rank_of(arrays, "low_rank_hh", low_rank_hh, rows, s.H, hh);
  arrays.check_overlap();
  on_threads(tidegate::Kind::backward, work_of(s), threads,
             [&](const tidegate_threads *team) { return tidegate_sequence_backward(&s, &in, &out, team); });
}

void linear_cross_entropy(Array x, Array W, Array b, Array targets, Array weight, int64_t ignore_index,
                          float label_smoothing, Array losses, Array d_x, Array d_W, Array d_b, int threads) {
  Arrays arrays;
  tidegate_linear_cross_entropy p{};
  const auto sizes = Arrays::sizes("x", x, 2);
  p.N = sizes[0], p.H = sizes[1], p.V = Arrays::sizes("W", W, 2)[0];
  p.x = arrays.floats("x", x, {p.N, p.H});
  p.W = arrays.floats("W", W, {p.V, p.H});
  p.b = arrays.floats("b", b, {p.V});
  p.targets = arrays.integers("targets", targets, {p.N});
  p.weight = arrays.floats("weight", weight, {p.N});
  p.ignore_index = ignore_index, p.label_smoothing = label_smoothing;
  float *to_losses = arrays.out("losses", losses, {p.N});
  float *to_d_x = arrays.out("d_x", d_x, {p.N, p.H});
  float *to_d_W = arrays.out("d_W", d_W, {p.V, p.H});
  float *to_d_b = arrays.out("d_b", d_b, {p.V});
  arrays.check_overlap();
  on_threads(tidegate::Kind::loss, product({p.N, p.H, p.V}), threads, [&](const tidegate_threads *team) {
    return tidegate_linear_cross_entropy_run(&p, to_losses, to_d_x, to_d_W, to_d_b, team);
  });
}

void linear(Array x, Array W, Array b, Array y, int threads) {
  Arrays arrays;
  tidegate_linear p{};
  const auto sizes = Arrays::sizes("x", x, 2);
  p.N = sizes[0], p.I = sizes[1], p.O = Arrays::sizes("W", W, 2)[0];
  p.x = arrays.floats("x", x, {p.N, p.I});
  p.W = arrays.floats("W", W, {p.O, p.I});
  p.b = arrays.floats("b", b, {p.O});
  float *to_y = arrays.out("y", y, {p.N, p.O});
  arrays.check_overlap();
  on_threads(tidegate::Kind::linear, product({p.N, p.I, p.O}), threads,
             [&](const tidegate_threads *team) { return tidegate_linear_run(&p, to_y, team); });
}

class Decoder {
 public:
  Decoder(int cell, const std::vector<nb::tuple> &stack, bool residual, float eps)
      : layers(static_cast<int64_t>(stack.size())) {
    if (stack.empty()) refuse("layers is empty, but a decoder has at least one.");
    for (const nb::tuple &layer : stack)
      if (layer.size() != 5)
        refuse("A layer has " + std::to_string(layer.size()) +
               " arrays, but five are wanted: weight_ih, weight_hh, bias_ih, bias_hh, norm.");
    H = Arrays::sizes("weight_hh", stack[0][1], 2)[1], I = Arrays::sizes("weight_ih", stack[0][0], 2)[1];
    const int64_t rows = gates(cell) * H;
    weights = rows * (I + H + (layers - 1) * 2 * H);
    Arrays arrays;
    std::vector<tidegate_layer> given;
    for (const nb::tuple &layer : stack) {
      const int64_t inputs = given.empty() ? I : H;
      tidegate_layer l{};
      l.weight_ih = arrays.floats("weight_ih", layer[0], {rows, inputs});
      l.weight_hh = arrays.floats("weight_hh", layer[1], {rows, H});
      l.bias_ih = arrays.floats("bias_ih", layer[2], {rows});
      l.bias_hh = arrays.floats("bias_hh", layer[3], {rows});
      l.norm = arrays.floats("norm", layer[4], {inputs});
      given.push_back(l);
    }
    const char *wrong = nullptr;
    decoder = tidegate_decoder_new(cell, static_cast<int>(layers), I, H, given.data(), residual ? 1 : 0, eps, &wrong);
    raise(wrong);
  }
  Decoder(const Decoder &) = delete;
  ~Decoder() { tidegate_decoder_free(decoder); }

  void step(Array x, Array h, Array c, Array y, Array h_after, Array c_after, int threads) const {
    Arrays arrays;
    const int64_t B = Arrays::sizes("x", x, 2)[0];
    const float *from_x = arrays.floats("x", x, {B, I});
    const float *from_h = arrays.floats("h", h, {layers, B, H});
    const float *from_c = arrays.floats("c", c, {layers, B, H});
    float *to_y = arrays.out("y", y, {B, H});
    float *to_h = arrays.out("h_after", h_after, {layers, B, H});
    float *to_c = arrays.out("c_after", c_after, {layers, B, H});
    arrays.check_overlap({{to_h, from_h}, {to_c, from_c}});
    on_threads(tidegate::Kind::decoder, product({B, weights}), threads, [&](const tidegate_threads *team) {
      return tidegate_decoder_step(decoder, B, from_x, from_h, from_c, to_y, to_h, to_c, team);
    });
  }

 private:
  int64_t layers, H = 0, I = 0, weights = 0;
  tidegate_decoder *decoder = nullptr;
};

constexpr double MOST_SECONDS = 60;
constexpr size_t MOST_AXES = 32; /* of an array of every version of NumPy; the conversion of more ends the process */

/* A new array of any content, in memory that the core keeps for the next one when it is freed. */
nb::ndarray<nb::numpy, float> empty(const std::vector<size_t> &shape) {
  if (shape.size() > MOST_AXES)
    refuse("shape has " + std::to_string(shape.size()) + " axes, but at most " + std::to_string(MOST_AXES) +
           " are possible.");
  size_t size = sizeof(float);
  for (const size_t n : shape)
    if (n != 0 && size > SIZE_MAX / 8 / n) throw std::bad_alloc();
    else size *= n;
  void *memory = tidegate_memory_take(size);
  if (memory == nullptr) throw std::bad_alloc();
  nb::capsule owner(memory, [](void *p) noexcept { tidegate_memory_give(p); });
  return nb::ndarray<nb::numpy, float>(memory, shape.size(), shape.data(), owner);
}

double peak_flops(double seconds, int threads) {
  if (!(seconds >= 0 && seconds <= MOST_SECONDS))
    refuse("seconds is " + std::to_string(seconds) + ", but from 0 to " + std::to_string(MOST_SECONDS) + " are possible.");
  const tidegate_threads team = team_of(threads);
  return released([&] { return tidegate_peak_flops(seconds, &team); });
}

}  // namespace

NB_MODULE(_core, m) {
  using nb::arg;
  m.doc() = "The native core of Tidegate; csrc/tidegate.h describes each function and its arrays. threads: so many; "
            "where it is negative, one or -threads, whichever proves faster as the calls come.";
  m.def("isa", &tidegate_isa, "The instruction set whose kernels run, or None.");
  m.def("isas", &tidegate_isas, "All that can run here, best first, separated by spaces.");
  m.def("isa_reason", &tidegate_isa_reason, "Why isa() is what it is.");
  m.def("threads_name", &tidegate::threads_name, "What runs the threads: the process's OpenMP runtime, or our own pool.");
  m.def("leave_openmp", &tidegate::leave_openmp, "Run threads of our own alone: for a child of a fork before loading.");
  m.def("peak_flops", &peak_flops, arg("seconds"), arg("threads"), "float32 operations a second, from registers alone.");
  m.def("empty", &empty, arg("shape"), "A new float32 array of any content; its memory is kept when it is freed.");
  m.def("saved_size", &saved_size, arg("cell"), arg("T"), arg("B"), arg("I"), arg("H"),
        "How many floats forward hands to backward.");
  m.def("sequence_forward", &sequence_forward, arg("cell"), arg("x"), arg("h_0").none(), arg("c_0").none(),
        arg("weight_ih"), arg("weight_hh"), arg("bias_ih").none(), arg("bias_hh").none(), arg("fresh").none(),
        arg("lengths").none(), arg("h"), arg("h_T"), arg("c_T").none(), arg("saved").none(), arg("threads"));
  m.def("sequence_backward", &sequence_backward, arg("cell"), arg("x"), arg("h_0").none(), arg("c_0").none(),
        arg("weight_ih"), arg("weight_hh"), arg("fresh").none(), arg("lengths").none(), arg("h"), arg("saved"),
        arg("d_h").none(), arg("d_h_T").none(), arg("d_c_T").none(), arg("d_x").none(), arg("d_h_0").none(),
        arg("d_c_0").none(), arg("d_weight_ih").none(), arg("d_weight_hh").none(), arg("d_bias_ih").none(),
        arg("d_bias_hh").none(), arg("threads"), arg("low_rank_ih") = nb::none(), arg("low_rank_hh") = nb::none());
  m.def("linear_cross_entropy", &linear_cross_entropy, arg("x"), arg("W"), arg("b").none(), arg("targets"),
        arg("weight").none(), arg("ignore_index"), arg("label_smoothing"), arg("losses"), arg("d_x").none(),
        arg("d_W").none(), arg("d_b").none(), arg("threads"));
  m.def("linear", &linear, arg("x"), arg("W"), arg("b").none(), arg("y"), arg("threads"));
  nb::class_<tidegate::Choice>(m, "Choice", "Chooses between one thread and several, by what calls took; see csrc/choice.h.")
      .def(nb::init<>())
      .def("several", &tidegate::Choice::several, "Whether the next call shall use several threads.")
      .def("took", &tidegate::Choice::took, arg("several"), arg("work"), arg("seconds"), "Tell what a call took.");
  nb::class_<Decoder>(m, "Decoder", "A stack of layers that takes one step at a time, all layers in one call.")
      .def(nb::init<int, const std::vector<nb::tuple> &, bool, float>(), arg("cell"), arg("layers"), arg("residual"),
           arg("eps"))
      .def("step", &Decoder::step, arg("x"), arg("h"), arg("c").none(), arg("y"), arg("h_after"),
           arg("c_after").none(), arg("threads"));
}
