/* elf_check.h: proves a shared object whole before the dynamic loader sees it, and reads what the
 * host needs of it. Works on bytes in memory; never calls the loader; never trusts an offset. */
#ifndef HOTLUA_ELF_CHECK_H
#define HOTLUA_ELF_CHECK_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

enum symbol_kind { SYMBOL_FUNCTION, SYMBOL_VARIABLE, SYMBOL_THREAD_LOCAL, SYMBOL_INDIRECT };

struct symbol {              /* one that the file defines in .dynsym, default or protected visibility */
    const char *name;        /* points into the file's bytes */
    uint64_t letters;        /* its first eight, as a number that sorts as they do */
    enum symbol_kind kind;   /* SYMBOL_INDIRECT: STT_GNU_IFUNC, a function whose address dlsym gives */
    uint64_t address;        /* as in the file; for thread-local: offset in the block */
    uint64_t size;           /* bytes; 0 if the file does not say */
    bool is_writable;        /* lies in a writable segment that RELRO does not protect */
    bool is_unique;          /* STB_GNU_UNIQUE */
    bool is_weak;
};

struct elf_facts {
    size_t loaded_size;      /* bytes of address space from the first to the end of the last PT_LOAD */
    uint64_t lowest_address; /* of the first PT_LOAD, page-aligned */
    size_t file_loaded_end;  /* file offset after the last byte that a segment maps */
    unsigned char build_id[64];
    size_t build_id_size;    /* 0: none */
    const char *soname;      /* NULL if none; points into the bytes */
    const char **needed;     /* DT_NEEDED names, NULL-terminated */
    bool has_unique;         /* a defined STB_GNU_UNIQUE symbol; its name: */
    const char *unique_name;
    bool has_text_relocations, has_executable_stack, has_writable_code, is_nodelete;
    bool has_static_tls;     /* DF_STATIC_TLS: its thread-locals use the loader's small static block */
    bool runs_code;          /* opening or closing it runs code of its author's: constructors, resolvers … */
    bool has_debug_info;     /* .debug_info or .zdebug_info is there, or a debuglink */
    uint64_t tls_size;       /* bytes of PT_TLS, 0: none */
    struct symbol *symbols;  /* exported, sorted by name (strcmp) */
    size_t symbol_count;
    const void *dynamic_symbols;         /* for elf_next_import */
    const char *strings;
    size_t import_end, string_size;
};

/* Check the `size` bytes at `bytes` as a shared object for this machine: every header, segment,
 * section, dynamic, symbol, string, hash, version and relocation table inside the file, the right
 * class, byte order, machine and type. `name` is only for the error's text. Bounded time for any
 * input. On success fills `facts`, whose pointers lead into `bytes`. */
bool elf_check(const void *bytes, size_t size, const char *name, struct elf_facts *facts,
               struct error *error);
/* The same for an executable, which elf_check refuses: to read the running program's own file. */
bool elf_check_program(const void *bytes, size_t size, const char *name, struct elf_facts *facts,
                       struct error *error);
void elf_facts_free(struct elf_facts *facts);

/* Is it one of the system's libraries that every program has, this one too, so that nothing of its runs any
 * more? */
bool elf_is_everywhere(const char *library);

/* The exported symbol of that name, NULL if none. */
const struct symbol *elf_find_symbol(const struct elf_facts *facts, const char *name);

/* The name of the next symbol that the file needs of others; NULL: no more. *place begins as 0. */
const char *elf_next_import(const struct elf_facts *facts, size_t *place);

#endif
