/* What the hooks are told of refused topics: the first of each kind in a minute, and how many there were. */
#ifndef PROVISIONING_REPORTS_H
#define PROVISIONING_REPORTS_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that one report to /hooks/reports may have, whatever it tells of; the hooks read 512 KiB. */
#define REPORT_MAX 60000

struct reports;

struct refusal {
    const char *client_id, *username, *topic;
    int acc;
    const char *reason; /* a constant text */
};

struct reports *reports_new(void);
void reports_free(struct reports *reports);

/* Counted with those of the same client, access and reason. Beyond a bound it is left out. */
void reports_note_refused(struct reports *reports, const struct refusal *refusal, int64_t now);

/* The body of a report, which is the caller's to free, where one is due; `reports_end` must follow. NULL: none. */
char *reports_begin(struct reports *reports, int64_t now);

/* Whether it arrived; what did not is kept for the next one. */
void reports_end(struct reports *reports, bool arrived);

#endif
