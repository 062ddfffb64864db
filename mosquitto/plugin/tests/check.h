/* The little that these tests need of a framework. */
#ifndef PROVISIONING_CHECK_H
#define PROVISIONING_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints what did not hold, and in which case of a table, and ends the program. */
#define CHECK(condition, name)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, name, #condition);                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DONE() (void)printf("ok  %s\n", __FILE__)

#endif
