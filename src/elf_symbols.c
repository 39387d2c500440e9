/* elf_symbols.c: the hash tables through which the dynamic loader finds symbols, the symbols
 * themselves, and the list of those that the file exports. */
#include "elf_internal.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION_MASK = 0x7fff, VERSION_HIDDEN = 0x8000 };

/* Hash tables -------------------------------------------------------------------------------- */

struct gnu_hash {
    uint32_t bucket_count, first_symbol, bloom_words, bloom_shift;
    /* then: uint64_t bloom[bloom_words]; uint32_t buckets[bucket_count]; uint32_t chain[]; */
};

static bool check_gnu_hash(struct elf *elf)
{
    uint64_t available;
    const struct gnu_hash *hash = elf_bytes_at(elf, elf->tags[TAG_GNU_HASH], sizeof *hash, 8, &available);
    if (!hash)
        return elf_damaged(elf, "its hash table lies outside of what is loaded");
    uint64_t before_chain = sizeof *hash + 8 * (uint64_t)hash->bloom_words + 4 * (uint64_t)hash->bucket_count;
    bool is_power = hash->bloom_words != 0 && (hash->bloom_words & (hash->bloom_words - 1)) == 0;
    if (!is_power || hash->bloom_shift > 31 || before_chain > available)
        return elf_damaged(elf, "its hash table is not one");
    const uint32_t *buckets = (const uint32_t *)(hash + 1) + 2 * (uint64_t)hash->bloom_words;
    const uint32_t *chain = buckets + hash->bucket_count;
    uint64_t chain_length = (available - before_chain) / sizeof *chain;
    uint32_t last = 0;
    for (uint32_t i = 0; i < hash->bucket_count; i++) {
        if (buckets[i] != 0 && buckets[i] < hash->first_symbol)
            return elf_damaged(elf, "bucket %u of its hash table leads to no chain", i);
        if (buckets[i] > last)
            last = buckets[i];
    }
    elf->first_hashed = elf->end_hashed = hash->first_symbol;
    if (last == 0)
        return true;
    uint64_t at = last - hash->first_symbol;     /* every other chain ends before or in this one */
    while (at < chain_length && !(chain[at] & 1))
        at++;
    if (at >= chain_length)
        return elf_damaged(elf, "its hash table has no end");
    elf->end_hashed = hash->first_symbol + at + 1;
    return true;
}

static bool check_sysv_hash(struct elf *elf)
{
    uint64_t available;
    const uint32_t *hash = elf_bytes_at(elf, elf->tags[DT_HASH], 8, 4, &available);
    if (!hash)
        return elf_damaged(elf, "its hash table lies outside of what is loaded");
    uint64_t bucket_count = hash[0], chain_count = hash[1];
    if (8 + 4 * (bucket_count + chain_count) > available)
        return elf_damaged(elf, "its hash table is not one");
    const uint32_t *buckets = hash + 2, *chain = buckets + bucket_count;
    uint64_t steps = 0;
    for (uint64_t i = 0; i < bucket_count; i++)
        for (uint32_t symbol = buckets[i]; symbol != STN_UNDEF; symbol = chain[symbol])
            if (symbol >= chain_count || ++steps > chain_count)
                return elf_damaged(elf, "a chain of its hash table has no end");
    elf->symbol_limit = chain_count;
    if (!elf->has_tag[TAG_GNU_HASH]) {
        elf->first_hashed = chain_count > 0;
        elf->end_hashed = chain_count;
    }
    return true;
}

/* Symbols ------------------------------------------------------------------------------------ */

static bool find_symbols(struct elf *elf)
{
    uint64_t available, address = elf->tags[DT_SYMTAB], strings = elf->tags[DT_STRTAB];
    elf->symbols = elf_bytes_at(elf, address, sizeof *elf->symbols, 8, &available);
    if (!elf->symbols)
        return elf_damaged(elf, "its dynamic symbols lie outside of what is loaded");
    if (strings > address && strings - address < available)
        available = strings - address;
    size_t limit = available / sizeof *elf->symbols;
    if (elf->symbol_limit > limit)
        return elf_damaged(elf, "its hash table names more symbols than there are");
    if (elf->symbol_limit == 0)
        elf->symbol_limit = limit;
    if (elf->end_hashed > elf->symbol_limit)
        return elf_damaged(elf, "its hash table names more symbols than there are");
    return true;
}

static bool is_version_known(const struct elf *elf, size_t index)
{
    if (!elf->versions)
        return true;
    return index < elf->version_limit && (elf->versions[index] & VERSION_MASK) <= elf->highest_version;
}

/* Does what the symbol names lie in the image? */
static bool is_place_inside(const struct elf *elf, const Elf64_Sym *symbol)
{
    switch (ELF64_ST_TYPE(symbol->st_info)) {
    case STT_TLS:
        return elf->tls && symbol->st_value <= elf->tls->p_memsz;
    case STT_FUNC:
        return elf_has_memory(elf, symbol->st_value, 1, PF_X) || symbol->st_value == 0;
    case STT_GNU_IFUNC:
        return elf_has_memory(elf, symbol->st_value, 1, PF_X);
    case STT_OBJECT:
        return elf_has_memory(elf, symbol->st_value, symbol->st_size, 0) || symbol->st_size == 0;
    default:
        return true;         /* labels such as _end lie behind everything */
    }
}

bool elf_check_symbol(const struct elf *elf, size_t index, bool is_relocated)
{
    const Elf64_Sym *symbol = &elf->symbols[index];
    const char *name = elf_string(elf, symbol->st_name);
    if (!name || !is_version_known(elf, index))
        return elf_damaged(elf, "dynamic symbol %zu has no name or version", index);
    if (symbol->st_shndx == SHN_UNDEF && !is_relocated)
        return true;
    if (symbol->st_shndx != SHN_UNDEF && symbol->st_shndx != SHN_ABS && !is_place_inside(elf, symbol))
        return elf_damaged(elf, "its symbol '%.100s' lies outside of what is loaded", name);
    return true;
}

bool elf_check_symbols(struct elf *elf)
{
    if (elf->has_tag[TAG_GNU_HASH] && !check_gnu_hash(elf))
        return false;
    if (elf->has_tag[DT_HASH] && !check_sysv_hash(elf))
        return false;
    if (!elf->has_tag[TAG_GNU_HASH] && !elf->has_tag[DT_HASH])
        return elf_damaged(elf, "it has no hash table of its symbols");
    if (!find_symbols(elf))
        return false;
    for (size_t i = elf->first_hashed; i < elf->end_hashed; i++)
        if (!elf_check_symbol(elf, i, false))
            return false;
    return true;
}

/* Exports ------------------------------------------------------------------------------------ */

static bool is_protected_after_load(const struct elf *elf, uint64_t address)
{
    return elf->relro && address - elf->relro->p_vaddr < elf->relro->p_memsz;
}

/* Code or data that C can name? False: not an export. */
static bool find_kind(const struct elf *elf, const Elf64_Sym *symbol, enum symbol_kind *kind)
{
    switch (ELF64_ST_TYPE(symbol->st_info)) {
    case STT_FUNC: *kind = SYMBOL_FUNCTION; return true;
    case STT_OBJECT: case STT_COMMON: *kind = SYMBOL_VARIABLE; return true;
    case STT_TLS: *kind = SYMBOL_THREAD_LOCAL; return true;
    case STT_GNU_IFUNC: *kind = SYMBOL_INDIRECT; return true;
    case STT_NOTYPE:         /* a label in assembler */
        *kind = SYMBOL_FUNCTION;
        return elf_has_memory(elf, symbol->st_value, 1, PF_X);
    default: return false;
    }
}

static bool is_exported(const struct elf *elf, size_t index)
{
    const Elf64_Sym *symbol = &elf->symbols[index];
    unsigned binding = ELF64_ST_BIND(symbol->st_info), visibility = ELF64_ST_VISIBILITY(symbol->st_other);
    const char *name = elf_string(elf, symbol->st_name);
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS || !*name ||
        (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE) ||
        (visibility != STV_DEFAULT && visibility != STV_PROTECTED))
        return false;
    if (elf->versions && elf->versions[index] & VERSION_HIDDEN)
        return false;        /* an old version of a name; the default one is exported */
    return strcmp(name, "_init") != 0 && strcmp(name, "_fini") != 0;
}

static uint64_t first_letters(const char *name)
{
    uint64_t letters = 0;
    for (unsigned i = 0; i < 8; i++) {
        letters = letters << 8 | (unsigned char)*name;
        name += *name != 0;
    }
    return letters;
}

static bool make_symbol(struct elf *elf, size_t index, struct symbol *made)
{
    const Elf64_Sym *symbol = &elf->symbols[index];
    if (!is_exported(elf, index) || !find_kind(elf, symbol, &made->kind))
        return false;
    made->name = elf_string(elf, symbol->st_name);
    made->letters = first_letters(made->name);
    made->address = symbol->st_value;
    made->size = symbol->st_size;
    made->is_unique = ELF64_ST_BIND(symbol->st_info) == STB_GNU_UNIQUE;
    made->is_weak = ELF64_ST_BIND(symbol->st_info) == STB_WEAK;
    made->is_writable = made->kind == SYMBOL_THREAD_LOCAL ||
        (elf_has_memory(elf, symbol->st_value, 1, PF_W) &&
         !is_protected_after_load(elf, symbol->st_value));
    if (made->is_unique && !elf->facts->has_unique) {
        elf->facts->has_unique = true;
        elf->facts->unique_name = made->name;
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    if (x->letters != y->letters)
        return x->letters < y->letters ? -1 : 1;
    return strcmp(x->name, y->name);
}

const char *elf_next_import(const struct elf_facts *facts, size_t *place)
{
    const Elf64_Sym *symbols = facts->dynamic_symbols;
    while (++*place < facts->import_end) {
        const Elf64_Sym *symbol = &symbols[*place];
        bool is_needed = symbol->st_shndx == SHN_UNDEF && ELF64_ST_BIND(symbol->st_info) == STB_GLOBAL;
        if (is_needed && symbol->st_name < facts->string_size && facts->strings[symbol->st_name])
            return facts->strings + symbol->st_name;
    }
    return NULL;
}

/* A GNU hash table has those that are defined, and what is before them is not. */
static void note_imports(struct elf *elf)
{
    size_t end = elf->has_tag[TAG_GNU_HASH] ? elf->first_hashed : elf->end_hashed;
    elf->facts->dynamic_symbols = elf->symbols;
    elf->facts->import_end = end < elf->symbol_limit ? end : elf->symbol_limit;
    elf->facts->strings = elf->strings;
    elf->facts->string_size = elf->string_size;
}

bool elf_list_symbols(struct elf *elf)
{
    struct elf_facts *facts = elf->facts;
    note_imports(elf);
    facts->symbols = calloc(elf->end_hashed - elf->first_hashed + 1, sizeof *facts->symbols);
    if (!facts->symbols)
        return error_set(elf->error, "%s: out of memory", elf->name);
    size_t count = 0;
    for (size_t i = elf->first_hashed; i < elf->end_hashed; i++)
        count += make_symbol(elf, i, &facts->symbols[count]);
    qsort(facts->symbols, count, sizeof *facts->symbols, compare_names);
    for (size_t i = 0; i < count; i++) {
        size_t kept = facts->symbol_count;
        if (kept == 0 || strcmp(facts->symbols[kept - 1].name, facts->symbols[i].name) != 0)
            facts->symbols[facts->symbol_count++] = facts->symbols[i];
    }
    return true;
}
