/* See choice.h. */
#include "choice.h"

#include <algorithm>
#include <cmath>

namespace tidegate {
namespace {

constexpr double TRIAL = 0.02;       /* seconds: several time slices of the system's scheduler */
constexpr double SHORTEST = 0.4;     /* seconds between trials, so that they take a twentieth of the time at most */
constexpr double LONGEST = 6.4;
constexpr double BETTER = 1.05;      /* several threads leave less to other processes: they must be worth it */
constexpr double SLOWER = 0.75;      /* of the rate before: something has changed */
constexpr double TOO_SHORT = 20e-6;  /* seconds: a call that several threads could not shorten */

}  // namespace

/* Nobody waits for the lock: in a child of fork() it may stay locked for good. */
bool Choice::several() {
  const std::unique_lock<std::mutex> lock(lock_, std::try_to_lock);
  return lock && several_;
}

void Choice::begin(bool several) {
  several_ = several;
  now_ = recent_ = {};
}

void Choice::settle(bool several) {
  trying_ = false;
  begin(several);
}

/* Both rates are known: keep the faster one. Where that is the one that ran before, the next trial can wait longer. */
void Choice::end_trial() {
  const bool tried = several_, faster = rate_[1] > BETTER * rate_[0];
  const double shortest = std::max(SHORTEST, 20 * now_.seconds);
  pause_ = faster == tried ? shortest : std::min(std::max(2 * pause_, shortest), std::max(LONGEST, shortest));
  settle(faster);
}

void Choice::took(bool several, double work, double seconds) {
  const std::unique_lock<std::mutex> lock(lock_, std::try_to_lock);
  if (!lock || several != several_) return; /* or of another thread, from before a change */
  const bool first = now_.calls++ == 0;
  if (first && trying_ && seconds < TRIAL) return; /* it wakes the threads, and brings the weights to the cache */
  for (Stretch *stretch : {&now_, &recent_}) stretch->work += work, stretch->seconds += seconds;
  ++recent_.calls;
  if (trying_) {
    if (now_.seconds < TRIAL) return;
    rate_[several] = now_.rate(), known_[several] = true;
    if (!several && now_.seconds < TOO_SHORT * now_.calls) pause_ = LONGEST, settle(false);
    else if (known_[!several]) end_trial();
    else begin(!several);
    return;
  }
  if (recent_.seconds < TRIAL) return;
  const double before = rate_[several], rate = recent_.rate();
  rate_[several] = rate;
  recent_ = {};
  if (now_.seconds < pause_ && rate > SLOWER * before) return;
  if (now_.seconds < SHORTEST) return;
  trying_ = true;
  begin(!several);
}

Choice &choice_of(Kind kind, double work) {
  constexpr int SIZES = 64; /* powers of two */
  static Choice choices[5][SIZES];
  const int size = work < 1 ? 0 : std::min(static_cast<int>(std::log2(work)), SIZES - 1);
  return choices[static_cast<int>(kind)][size];
}

}  // namespace tidegate
