/* elf_relink.h: other names for the libraries that a shared object needs, written into a copy of it. */
#ifndef HOTLUA_ELF_RELINK_H
#define HOTLUA_ELF_RELINK_H

#include "error.h"

#include <stddef.h>

struct elf_link {
    const char *needed;      /* as the file has it */
    const char *path;        /* what it is to have */
};

enum { ELF_MAX_LINKS = 64 };

/* A copy of the `*size` bytes, which elf_check has found good, with the links made; malloc'ed, of the size
 * that is put there. The new names go where a loaded segment leaves the rest of its last page unused, or
 * into a segment of their own. NULL with error, when there is room for neither. */
unsigned char *elf_relink(const void *bytes, size_t *size, const struct elf_link *links, size_t count,
                          struct error *error);

#endif
