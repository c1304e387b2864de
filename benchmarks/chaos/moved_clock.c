/* Moves the clock of a process that preloads this library (LD_PRELOAD).
 *
 * As soon as the file CHAOS_CLOCK_FILE exists, the clock differs by CHAOS_CLOCK_SECONDS from the real one.
 * Clocks that measure durations do not move.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    const char *file = getenv("CHAOS_CLOCK_FILE"), *seconds = getenv("CHAOS_CLOCK_SECONDS");
    return file && seconds && access(file, F_OK) == 0 ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *result) {
    int failed = syscall(SYS_clock_gettime, clock, result);
    if (!failed && clock == CLOCK_REALTIME) result->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *result, void *zone) {
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
