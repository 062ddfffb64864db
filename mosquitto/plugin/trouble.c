#include "trouble.h"

bool trouble_is_written(struct trouble *trouble, time_t now, unsigned long *unwritten)
{
    if (trouble->any && trouble->last == now) {
        trouble->unwritten++;
        return false;
    }
    *unwritten = trouble->unwritten;
    *trouble = (struct trouble){.last = now, .any = true};
    return true;
}
