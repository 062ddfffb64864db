/* The broker's secret: half of its HTTP Basic credentials. */
#ifndef PROVISIONING_SECRET_H
#define PROVISIONING_SECRET_H

#include <stddef.h>

/* Returns the secret that the file holds, to be given back to secret_free, or NULL with the rule in *why.
 * *why holds neither the content nor the path: somebody may have written the secret where the path belongs. */
char *secret_read(const char *path, char *why, size_t why_size);

void secret_free(char *secret);

#endif
