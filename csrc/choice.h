/* Whether one thread or several are faster, found by timing calls as they come.
 *
 * Several threads that wait for each other are slower than one as soon as another process takes the CPU of one of them,
 * and nothing tells that beforehand. Since all kernels give the same bits on any number of threads, a call may choose. */
#ifndef TIDEGATE_CHOICE_H
#define TIDEGATE_CHOICE_H

#include <stdint.h>

#include <mutex>

namespace tidegate {

/* The choice for calls of one kind and about one size. One thread and several are tried in turn, each over a stretch of
 * calls; the faster one is kept, and the other one is tried again now and then: soon after it was nearly as fast, rarely
 * where it never is. May be used from several threads at once. */
class Choice {
 public:
  bool several();                                          /* whether the next call shall use several threads */
  void took(bool several, double work, double seconds);    /* what a call took; work in any unit */

 private:
  struct Stretch {
    int calls = 0;
    double work = 0, seconds = 0;
    double rate() const { return work / seconds; }
  };
  void begin(bool several);
  void end_trial();
  void settle(bool several);

  std::mutex lock_;
  bool several_ = false;   /* what runs now */
  bool trying_ = true;     /* whether that is a trial; else it was chosen */
  bool known_[2] = {};     /* whether one thread, several were tried yet */
  double rate_[2] = {};    /* of one thread, of several, when last timed */
  Stretch now_, recent_;   /* since the last change; the last few calls of it */
  double pause_ = 0;       /* seconds of computing until the other one is tried */
};

enum class Kind { forward, backward, loss, decoder, linear };

/* The choice for calls of a kind that take so many multiply-adds; valid as long as the process lives. */
Choice &choice_of(Kind kind, double work);

}  // namespace tidegate

#endif
