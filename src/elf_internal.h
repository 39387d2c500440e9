/* elf_internal.h: what the parts of the ELF check share. Every pointer that a part hands to another
 * has been proven to lie inside the file; an offset or index read from the file has not. */
#ifndef HOTLUA_ELF_INTERNAL_H
#define HOTLUA_ELF_INTERNAL_H

#include "elf_check.h"

#include <elf.h>

/* Machines ----------------------------------------------------------------------------------- */

enum relocation_class {
    RELOCATION_NOTHING,      /* writes nothing */
    RELOCATION_SYMBOL,       /* an address or size computed from a symbol */
    RELOCATION_RELATIVE,     /* load address plus addend */
    RELOCATION_INDIRECT,     /* calls the resolver at load address plus addend */
    RELOCATION_TLS,          /* a thread-local's module or offset */
    RELOCATION_COPY,         /* copies a variable into a program */
};

struct relocation_rule {
    uint32_t type;
    uint8_t width;           /* bytes written */
    uint8_t class;           /* enum relocation_class */
};

struct elf_machine {
    uint16_t number;         /* EM_... */
    bool stack_is_executable;            /* where PT_GNU_STACK is missing */
    const struct relocation_rule *rules; /* the commonest first */
    unsigned rule_count;
};

extern const struct elf_machine elf_native;

/* "aarch64"; NULL if unknown. */
const char *elf_machine_name(uint16_t number);
/* NULL if the dynamic loader of this machine does not know the type. */
const struct relocation_rule *elf_relocation_rule(uint32_t type);

/* The file being checked --------------------------------------------------------------------- */

enum { MAX_SEGMENTS = 256, MAX_NEEDED = 1024 };

/* Tags of the dynamic section that do not fit an array get numbers after the common ones. */
enum {
    TAG_GNU_HASH = DT_NUM, TAG_VERSYM, TAG_VERDEF, TAG_VERNEED, TAG_RELACOUNT, TAG_FLAGS_1, TAG_COUNT
};

struct load {                /* a PT_LOAD; sorted, without overlap */
    uint64_t start, end;     /* addresses; end of what has memory */
    uint64_t file_end;       /* address after the last byte that comes from the file */
    uint64_t offset;         /* of `start` in the file */
    uint32_t flags;
};

struct elf {
    const unsigned char *bytes;
    size_t size;
    const char *name;        /* for error texts */
    struct error *error;
    struct elf_facts *facts;
    bool is_program;         /* an executable is expected */
    uint64_t page;

    const Elf64_Ehdr *header;
    const Elf64_Phdr *segments;
    const Elf64_Phdr *dynamic_segment, *tls, *relro;     /* NULL: none */
    struct load loads[MAX_SEGMENTS];
    unsigned load_count;

    uint64_t tags[TAG_COUNT];
    bool has_tag[TAG_COUNT];
    const char *strings;     /* DT_STRTAB; ends in a NUL */
    size_t string_size;
    const Elf64_Sym *symbols;
    size_t symbol_limit;     /* no symbol index may reach it */
    size_t first_hashed, end_hashed;     /* the symbols that lookups can find */
    const Elf64_Half *versions;          /* one per symbol, NULL: none */
    size_t version_limit;
    unsigned highest_version;
    bool has_resolver;       /* a relocation calls one of its functions */
};

/* Fill the error with "NAME: damaged: ..." and return false. */
bool elf_damaged(const struct elf *elf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Does [start, start + size) lie in [low, high)? Nothing overflows. */
static inline bool elf_range_within(uint64_t start, uint64_t size, uint64_t low, uint64_t high)
{
    return start >= low && start <= high && size <= high - start;
}

/* The segment whose memory holds the address, NULL if none. */
const struct load *elf_load_at(const struct elf *elf, uint64_t address);
/* Do `size` bytes at the address lie in one segment that has all of the flags (PF_R ...)? */
bool elf_has_memory(const struct elf *elf, uint64_t address, uint64_t size, uint32_t flags);
/* The bytes of the file that come to lie at the address, which is a multiple of `alignment`; at least
 * `size` of them, `*available` in all. NULL if there are none, or not readable in memory. */
const void *elf_bytes_at(const struct elf *elf, uint64_t address, uint64_t size, uint64_t alignment,
                         uint64_t *available);
/* The string at the offset in DT_STRTAB, NULL if outside. */
const char *elf_string(const struct elf *elf, uint64_t offset);

/* The steps, in order. Each relies on those before it. */
bool elf_check_segments(struct elf *elf);
bool elf_check_sections(struct elf *elf);
bool elf_check_dynamic(struct elf *elf);
bool elf_check_versions(struct elf *elf);
bool elf_check_symbols(struct elf *elf);
bool elf_check_relocations(struct elf *elf);

/* Is the symbol whole, of index below symbol_limit? `is_relocated`: a relocation names it. */
bool elf_check_symbol(const struct elf *elf, size_t index, bool is_relocated);

/* Is the code that the start files run when it is opened known, and whole? The same. */
bool elf_start_is_whole(const struct elf *elf);

/* Does code of the author's run when the file is opened or closed? After all checks and elf_list_symbols. */
bool elf_runs_code(const struct elf *elf);

/* Fill facts->symbols from the hashed symbols. False: out of memory. */
bool elf_list_symbols(struct elf *elf);

#endif
