/* Preloaded (ld.so(8)): the wall clock is a day later at every other look, as if somebody set it to and
   fro. All other clocks are as they are. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now)
{
    static unsigned looks;
    int result = syscall(SYS_clock_gettime, id, now);

    if (result == 0 && id == CLOCK_REALTIME && __atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) % 2)
        now->tv_sec += 24 * 3600;
    return result;
}
