/* debuginfo_file.c: opens the files that debug information is in: the plugin's own, a separate one
 * found by build-id or debuglink, the supplementary one of dwz. Reads no DWARF. */
#include "debuginfo_internal.h"

#include "memory.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char debug_root[] = "/usr/lib/debug";

/* Only packages write there, and they replace files instead of rewriting them. */
static bool is_system_path(const char *path)
{
    char real[PATH_MAX];
    return realpath(path, real) && strncmp(real, "/usr/", 5) == 0;
}

/* Sections that libelf inflates change their headers in place. */
static bool has_compressed_sections(Elf *elf)
{
    GElf_Shdr header;
    size_t names;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return false;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)); ) {
        const char *name = gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
        if (name && (header.sh_flags & SHF_COMPRESSED || strncmp(name, ".zdebug", 7) == 0))
            return true;
    }
    return false;
}

bool file_open_mapped(struct debug_file *file, const char *path)
{
    if (!file->mapped.bytes || file->mapped.size < EI_NIDENT)
        return false;
    elf_version(EV_CURRENT);
    file->elf = elf_memory((char *)file->mapped.bytes, file->mapped.size);
    if (file->elf && elf_kind(file->elf) == ELF_K_ELF && !has_compressed_sections(file->elf)) {
        file->path = memory_copy_text(path);
        return true;
    }
    if (file->elf)
        elf_end(file->elf);
    file->elf = NULL;
    return false;
}

bool file_open(struct debug_file *file, const char *path, bool stable, struct error *error)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return error_set_stage(error, "open", "%s: %s", path, strerror(errno));
    file->descriptor = descriptor;
    if (fstat(descriptor, &status) != 0) {
        error_set_stage(error, "open", "%s: %s", path, strerror(errno));
        file_close(file);
        return false;
    }
    if (!S_ISREG(status.st_mode) || status.st_size < EI_NIDENT) {
        file_close(file);
        return error_set(error, "%s: not an ELF file", path);
    }
    elf_version(EV_CURRENT);
    file->size = (size_t)status.st_size;
    if (stable || is_system_path(path)) {      /* writable, for libelf inflates sections in place */
        void *bytes = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
        if (bytes == MAP_FAILED) {
            error_set_stage(error, "open", "%s: %s", path, strerror(errno));
            file_close(file);
            return false;
        }
        file->bytes = bytes;
        file->elf = elf_memory(bytes, file->size);
        close(descriptor);
        file->descriptor = -1;
    } else {
        file->elf = elf_begin(descriptor, ELF_C_READ, NULL);
    }
    if (!file->elf || elf_kind(file->elf) != ELF_K_ELF) {
        file_close(file);
        return error_set(error, "%s: not an ELF file", path);
    }
    file->path = memory_copy_text(path);
    return true;
}

void file_close(struct debug_file *file)
{
    if (file->elf)
        elf_end(file->elf);
    if (file->bytes)
        munmap(file->bytes, file->size);
    if (file->mapped.release)
        file->mapped.release(file->mapped.owner);
    if (file->descriptor >= 0)
        close(file->descriptor);
    free(file->path);
    *file = (struct debug_file){.descriptor = -1};
}

Elf_Scn *file_section(const struct debug_file *file, const char *name, GElf_Shdr *header)
{
    size_t names;
    if (elf_getshdrstrndx(file->elf, &names) != 0)
        return NULL;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(file->elf, section)); ) {
        if (!gelf_getshdr(section, header) || header->sh_type == SHT_NOBITS)
            continue;
        const char *found = elf_strptr(file->elf, names, header->sh_name);
        if (found && strcmp(found, name) == 0)
            return section;
    }
    return NULL;
}

bool file_maps(const struct debug_file *file, uint32_t segment, uint64_t address, uint64_t size)
{
    size_t count = 0;
    elf_getphdrnum(file->elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (!gelf_getphdr(file->elf, (int)i, &header) || header.p_type != segment)
            continue;
        uint64_t start = segment == PT_TLS ? 0 : header.p_vaddr;
        if (address >= start && address - start <= header.p_memsz &&
            size <= header.p_memsz - (address - start))
            return true;
    }
    return false;
}

static bool has_debug_info(const struct debug_file *file)
{
    GElf_Shdr header;
    return file_section(file, ".debug_info", &header) || file_section(file, ".zdebug_info", &header);
}

/* Does the whole file have that checksum, as .gnu_debuglink defines it? */
static bool has_checksum(const struct debug_file *file, uint32_t expected)
{
    uint32_t table[256], sum = 0xffffffff;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
        table[i] = value;
    }
    unsigned char buffer[16 * 1024];
    ssize_t length;
    for (size_t i = 0; file->bytes && i < file->size; i++)
        sum = table[(sum ^ ((unsigned char *)file->bytes)[i]) & 255] ^ sum >> 8;
    if (file->bytes)
        return ~sum == expected;
    for (off_t at = 0; (length = pread(file->descriptor, buffer, sizeof buffer, at)) > 0; at += length)
        for (ssize_t i = 0; i < length; i++)
            sum = table[(sum ^ buffer[i]) & 255] ^ sum >> 8;
    return length == 0 && ~sum == expected;
}

static bool has_build_id(const struct debug_file *file, const void *id, ssize_t size)
{
    const void *own;
    return dwelf_elf_gnu_build_id(file->elf, &own) == size && memcmp(own, id, (size_t)size) == 0;
}

/* What a candidate must be: of that build-id, or without one, of that checksum. */
struct wanted {
    const void *id;
    ssize_t id_size;         /* <= 0: no build-id */
    bool has_checksum;
    GElf_Word checksum;
};

static bool try_file(struct debug_file *candidate, const char *path, const struct wanted *wanted)
{
    struct stat status;
    if (stat(path, &status) != 0 || !file_open(candidate, path, false, NULL))
        return false;
    bool fits = has_debug_info(candidate);
    if (fits && wanted->id_size > 0)
        fits = has_build_id(candidate, wanted->id, wanted->id_size);
    else if (fits)
        fits = wanted->has_checksum && has_checksum(candidate, wanted->checksum);
    if (!fits)
        file_close(candidate);
    return fits;
}

__attribute__((format(printf, 3, 4)))
static bool try_path(struct debug_file *candidate, const struct wanted *wanted,
                     const char *format, ...)
{
    char path[PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    return length < (int)sizeof path && try_file(candidate, path, wanted);
}

/* Look for root/.build-id/xx/yyyy.debug. */
static bool try_build_id(struct debug_file *candidate, const struct wanted *wanted, const char *root)
{
    char hex[2 * 64 + 1] = "";
    const unsigned char *id = wanted->id;
    if (wanted->id_size < 2 || wanted->id_size > 64)
        return false;
    for (ssize_t i = 0; i < wanted->id_size; i++)
        sprintf(hex + 2 * i, "%02x", id[i]);
    return try_path(candidate, wanted, "%s/.build-id/%.2s/%s.debug", root, hex, hex + 2);
}

static bool try_link(struct debug_file *candidate, const struct wanted *wanted, const char *link,
                     const char *source_directory)
{
    char real[PATH_MAX];
    if (try_path(candidate, wanted, "%s/%s", source_directory, link) ||
        try_path(candidate, wanted, "%s/.debug/%s", source_directory, link))
        return true;
    if (!realpath(source_directory, real))
        return false;
    if (try_path(candidate, wanted, "%s%s/%s", debug_root, real, link))
        return true;
    const char *short_name = strncmp(real, "/usr/", 5) == 0 ? real + 4 : NULL;
    return short_name && try_path(candidate, wanted, "%s%s/%s", debug_root, short_name, link);
}

bool file_open_separate(const struct debug_file *file, const char *source_directory,
                        struct debug_file *separate, struct error *error)
{
    if (has_debug_info(file))
        return true;
    struct wanted wanted = {0};
    wanted.id_size = dwelf_elf_gnu_build_id(file->elf, &wanted.id);
    const char *link = dwelf_elf_gnu_debuglink(file->elf, &wanted.checksum);
    wanted.has_checksum = link != NULL;
    if (try_build_id(separate, &wanted, debug_root))
        return true;
    if (source_directory && try_build_id(separate, &wanted, source_directory))
        return true;
    if (!link)
        return error_set(error, "no debug info: compile with -g");
    bool is_plain = source_directory && !strchr(link, '/');
    if (is_plain && try_link(separate, &wanted, link, source_directory))
        return true;
    return error_set(error, "no debug info: its file '%.200s' (.gnu_debuglink) is neither beside it "
                     "nor under %s, or is of another build", link, debug_root);
}

bool file_open_alternate(const struct debug_file *file, const char *source_directory,
                         struct debug_file *alternate)
{
    GElf_Shdr header;
    Elf_Scn *section = file_section(file, ".gnu_debugaltlink", &header);
    Elf_Data *data = section ? elf_rawdata(section, NULL) : NULL;
    const char *name = data ? data->d_buf : NULL;
    const char *end = name ? memchr(name, 0, data->d_size) : NULL;
    if (!end)
        return false;
    struct wanted wanted = {.id = end + 1};
    wanted.id_size = (ssize_t)(data->d_size - (size_t)(end + 1 - name));
    if (wanted.id_size <= 0)
        return false;
    if (name[0] == '/' && try_file(alternate, name, &wanted))
        return true;
    const char *slash = strrchr(file->path, '/');
    int length = slash ? (int)(slash - file->path) : 1;
    if (try_path(alternate, &wanted, "%.*s/%s", length, slash ? file->path : ".", name) ||
        (source_directory && try_path(alternate, &wanted, "%s/%s", source_directory, name)))
        return true;
    return try_build_id(alternate, &wanted, debug_root);
}
