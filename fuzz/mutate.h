/* mutate.h: changes a file where it matters: in the headers and tables that the loader reads, or in
 * the sections that debuggers read. Only for the fuzz targets. */
#ifndef HOTLUA_FUZZ_MUTATE_H
#define HOTLUA_FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Change a few bytes of the ELF file in place: of debug sections, or of all that is not code or debug
 * information. False if it has no such part (then it was left alone). */
bool mutate_elf(uint8_t *bytes, size_t size, bool in_debug, unsigned seed);

#endif
