/* pristine.c: initial values of writable data, page by page: a page is all zero, or still the
 * file's own, or copied. May run on the loader thread; never calls Lua. */
#include "pristine.h"

#include "image.h"
#include "stage.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_RANGES = 32, ENTRIES = 512, FEW_PAGES = 16 };

static const uint64_t PAGE_PRESENT = 1ull << 63, PAGE_SWAPPED = 1ull << 62,
    PAGE_OF_FILE = 1ull << 61;

struct range {               /* writable memory that follows on without a gap */
    uintptr_t start, end;    /* page-aligned */
    uintptr_t first, last;   /* what of it belongs to the segment */
    const unsigned char *file;           /* the bytes of `start` in the staged copy */
    uintptr_t file_end;      /* address after the last whole page that comes from the file */
    size_t first_page;       /* index of its first page in `pages` and in a map of written pages */
};

struct pristine {
    struct range ranges[MAX_RANGES];
    unsigned range_count;
    size_t page_count;
    unsigned char *copies;
    size_t copied;
    const unsigned char *pages[];        /* initial content, NULL: zeros */
};

static const unsigned char zeros[PAGE];

/* ---- The ranges ---- */

static uintptr_t end_of_relro(const struct image *image)
{
    const Elf64_Ehdr *header = stage_bytes(image->stage);
    const Elf64_Phdr *segments = (const void *)((const char *)header + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_GNU_RELRO)
            return (image->bias + segments[i].p_vaddr + segments[i].p_memsz) & -(uintptr_t)PAGE;
    return 0;
}

/* The writable part of the segment, RELRO being its beginning. */
static bool range_of_segment(const struct image *image, const Elf64_Phdr *segment, uintptr_t relro,
                             struct range *range)
{
    uintptr_t start = (image->bias + segment->p_vaddr) & -(uintptr_t)PAGE;
    uintptr_t end = image->bias + segment->p_vaddr + segment->p_memsz;
    const unsigned char *file = stage_bytes(image->stage);
    end = (end + PAGE - 1) & -(uintptr_t)PAGE;
    file += segment->p_offset - segment->p_vaddr % PAGE;
    uintptr_t skipped = relro > start && relro <= end ? relro - start : 0;
    *range = (struct range){
        .start = start + skipped, .end = end, .file = file + skipped,
        .first = image->bias + segment->p_vaddr, .last = image->bias + segment->p_vaddr + segment->p_memsz,
        .file_end = (image->bias + segment->p_vaddr + segment->p_filesz) & -(uintptr_t)PAGE,
    };
    return range->start < range->end;
}

static unsigned find_ranges(const struct image *image, struct range *ranges)
{
    const Elf64_Ehdr *header = stage_bytes(image->stage);
    const Elf64_Phdr *segments = (const void *)((const char *)header + header->e_phoff);
    uintptr_t relro = end_of_relro(image);
    size_t pages = 0;
    unsigned count = 0;
    for (int i = 0; i < header->e_phnum && count < MAX_RANGES; i++) {
        if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_W))
            continue;
        if (!range_of_segment(image, &segments[i], relro, &ranges[count]))
            continue;
        ranges[count].first_page = pages;
        pages += (ranges[count].end - ranges[count].start) / PAGE;
        count++;
    }
    return count;
}

static const struct range *find_range(const struct pristine *pristine, uintptr_t address,
                                      size_t size)
{
    for (unsigned i = 0; pristine && i < pristine->range_count; i++) {
        const struct range *range = &pristine->ranges[i];
        if (address >= range->start && address <= range->end && size <= range->end - address)
            return range;
    }
    return NULL;
}

/* ---- What the kernel knows of pages ---- */

/* Calls `each` with the page's entry of /proc/self/pagemap. False when it cannot be read. To look at a few
 * pages costs less than to ask about them: those are said to be written. */
static bool each_page(const struct pristine *pristine, void (*each)(void *, size_t, uint64_t),
                      void *context)
{
    uint64_t entries[ENTRIES];
    if (pristine->page_count <= FEW_PAGES) {
        for (size_t i = 0; i < pristine->page_count; i++)
            each(context, i, PAGE_PRESENT);
        return true;
    }
    int descriptor = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    bool read_all = descriptor >= 0;
    for (unsigned i = 0; read_all && i < pristine->range_count; i++) {
        const struct range *range = &pristine->ranges[i];
        size_t count = (range->end - range->start) / PAGE;
        for (size_t done = 0; read_all && done < count; ) {
            size_t wanted = count - done < ENTRIES ? count - done : ENTRIES;
            off_t offset = (off_t)((range->start / PAGE + done) * sizeof *entries);
            ssize_t got = pread(descriptor, entries, wanted * sizeof *entries, offset);
            read_all = got == (ssize_t)(wanted * sizeof *entries);
            for (size_t j = 0; read_all && j < wanted; j++)
                each(context, range->first_page + done + j, entries[j]);
            done += wanted;
        }
    }
    if (descriptor >= 0)
        close(descriptor);
    return read_all;
}

/* A page of the file stays the file's, and one of zeros stays absent, until it is written. */
static void note_written(void *context, size_t page, uint64_t entry)
{
    unsigned char *written = context;
    bool is_private = entry & PAGE_SWAPPED || (entry & PAGE_PRESENT && !(entry & PAGE_OF_FILE));
    if (is_private)
        written[page / 8] |= (unsigned char)(1u << page % 8);
}

unsigned char *pristine_ask_written(const struct pristine *pristine)
{
    if (!pristine)
        return NULL;
    unsigned char *written = calloc(pristine->page_count / 8 + 1, 1);
    if (written && each_page(pristine, note_written, written))
        return written;
    free(written);
    return NULL;
}

/* A page that was copied had been written before, so nothing can be told of it. */
bool pristine_is_clean(const struct pristine *pristine, const unsigned char *written,
                       const void *address, size_t size)
{
    const struct range *range = find_range(pristine, (uintptr_t)address, size);
    if (!range || !written || size == 0)
        return false;
    size_t first = range->first_page + ((uintptr_t)address - range->start) / PAGE;
    size_t last = range->first_page + ((uintptr_t)address + size - 1 - range->start) / PAGE;
    for (size_t page = first; page <= last; page++)
        if (written[page / 8] >> page % 8 & 1)
            return false;
    return true;
}

/* Of a page what belongs to the segment: of a small plugin's, a few bytes. */
static bool each_part(const struct range *range, uintptr_t page,
                      bool (*each)(void *context, const void *start, size_t size), void *context)
{
    uintptr_t start = page > range->first ? page : range->first;
    uintptr_t end = page + PAGE < range->last ? page + PAGE : range->last;
    return start >= end || each(context, (const void *)start, end - start);
}

void pristine_each_written(const struct pristine *pristine,
                           bool (*each)(void *context, const void *start, size_t size), void *context)
{
    unsigned char *written = pristine_ask_written(pristine);
    bool goes_on = true;
    for (unsigned i = 0; goes_on && i < pristine->range_count; i++) {
        const struct range *range = &pristine->ranges[i];
        for (uintptr_t at = range->start; goes_on && at < range->end; at += PAGE)
            if (pristine->pages[range->first_page + (at - range->start) / PAGE] ||
                !pristine_is_clean(pristine, written, (void *)at, PAGE))
                goes_on = each_part(range, at, each, context);
    }
    free(written);
}

/* ---- Taking ---- */

/* Give the pages their content; returns how many have to be copied, and copies if there is
 * where. */
static size_t take_range(struct pristine *pristine, const struct range *range,
                         const unsigned char *written, unsigned char *copies)
{
    size_t copied = 0;
    for (uintptr_t at = range->start; at < range->end; at += PAGE) {
        size_t page = range->first_page + (at - range->start) / PAGE;
        bool is_written = !written || written[page / 8] >> page % 8 & 1;
        bool is_of_file = at < range->file_end;
        const unsigned char *content = NULL;
        if (!is_written && is_of_file) {
            content = range->file + (at - range->start);
        } else if (is_written && memcmp((const void *)at, zeros, PAGE) != 0) {
            content = copies ? copies + copied * PAGE : zeros;
            copied++;
        }
        if (copies && is_written && content)
            memcpy(copies + (copied - 1) * PAGE, (const void *)at, PAGE);
        pristine->pages[page] = content;
    }
    return copied;
}

static size_t take_all(struct pristine *pristine, const unsigned char *written)
{
    size_t copied = 0;
    for (unsigned i = 0; i < pristine->range_count; i++) {
        unsigned char *copies = pristine->copies ? pristine->copies + copied * PAGE : NULL;
        copied += take_range(pristine, &pristine->ranges[i], written, copies);
    }
    return copied;
}

bool pristine_take(const struct image *image, struct pristine **taken)
{
    struct range ranges[MAX_RANGES];
    unsigned count = find_ranges(image, ranges);
    if (count == 0 || sysconf(_SC_PAGESIZE) != PAGE)
        return true;
    const struct range *last = &ranges[count - 1];
    size_t pages = last->first_page + (last->end - last->start) / PAGE;
    struct pristine *pristine = calloc(1, sizeof *pristine + pages * sizeof *pristine->pages);
    if (!pristine)
        return false;
    memcpy(pristine->ranges, ranges, count * sizeof *ranges);
    pristine->range_count = count;
    pristine->page_count = pages;
    unsigned char *written = pristine_ask_written(pristine);
    pristine->copied = take_all(pristine, written);
    if (pristine->copied > 0) {
        pristine->copies = malloc(pristine->copied * PAGE);
        if (pristine->copies)
            take_all(pristine, written);
    }
    free(written);
    if (pristine->copied > 0 && !pristine->copies) {
        pristine_free(pristine);
        return false;
    }
    *taken = pristine;
    return true;
}

void pristine_free(struct pristine *pristine)
{
    if (!pristine)
        return;
    free(pristine->copies);
    free(pristine);
}

/* ---- Reading ---- */

bool pristine_covers(const struct pristine *pristine, const void *address, size_t size)
{
    return find_range(pristine, (uintptr_t)address, size) != NULL;
}

/* The initial bytes at the address (NULL: zeros), up to `*size` or the end of its page. */
static const unsigned char *piece_at(const struct pristine *pristine, const struct range *range,
                                     uintptr_t address, size_t *size)
{
    size_t page = range->first_page + (address - range->start) / PAGE, inside = address % PAGE;
    if (*size > PAGE - inside)
        *size = PAGE - inside;
    return pristine->pages[page] ? pristine->pages[page] + inside : NULL;
}

bool pristine_read(const struct pristine *pristine, const void *address, void *buffer, size_t size)
{
    const struct range *range = find_range(pristine, (uintptr_t)address, size);
    if (!range)
        return false;
    for (size_t done = 0; done < size; ) {
        size_t length = size - done;
        const unsigned char *piece = piece_at(pristine, range, (uintptr_t)address + done, &length);
        if (piece)
            memcpy((char *)buffer + done, piece, length);
        else
            memset((char *)buffer + done, 0, length);
        done += length;
    }
    return true;
}

const void *pristine_view(const struct pristine *pristine, const void *address, size_t size,
                          void *buffer)
{
    const struct range *range = find_range(pristine, (uintptr_t)address, size);
    size_t done = size;
    const unsigned char *first = piece_at(pristine, range, (uintptr_t)address, &done);
    while (done < size) {
        size_t length = size - done;
        const unsigned char *piece = piece_at(pristine, range, (uintptr_t)address + done, &length);
        if (piece != (first ? first + done : NULL)) {
            pristine_read(pristine, address, buffer, size);
            return buffer;
        }
        done += length;
    }
    return first;
}

bool pristine_is_untouched(const struct pristine *pristine, const void *address, size_t size)
{
    const struct range *range = find_range(pristine, (uintptr_t)address, size);
    if (!range)
        return true;
    for (size_t done = 0; done < size; ) {
        size_t length = size - done;
        const unsigned char *piece = piece_at(pristine, range, (uintptr_t)address + done, &length);
        if (memcmp((const char *)address + done, piece ? piece : zeros, length) != 0)
            return false;
        done += length;
    }
    return true;
}

void pristine_restore_part(const struct pristine *pristine, const void *start, const void *end)
{
    size_t size = (size_t)((const char *)end - (const char *)start);
    if (size > 0)
        pristine_read(pristine, start, (void *)start, size);
}

/* Without making zero pages that are already zero private. */
static void restore_zeros(uintptr_t at)
{
    if (memcmp((const void *)at, zeros, PAGE) != 0)
        memset((void *)at, 0, PAGE);
}

void pristine_restore(const struct pristine *pristine)
{
    unsigned char *written = pristine_ask_written(pristine);
    for (unsigned i = 0; pristine && i < pristine->range_count; i++) {
        const struct range *range = &pristine->ranges[i];
        for (uintptr_t at = range->start; at < range->end; at += PAGE) {
            size_t index = range->first_page + (at - range->start) / PAGE;
            const unsigned char *page = pristine->pages[index];
            if (pristine_is_clean(pristine, written, (const void *)at, PAGE))
                continue;
            if (!page)
                restore_zeros(at);
            else if (memcmp((const void *)at, page, PAGE) != 0)
                memcpy((void *)at, page, PAGE);
        }
    }
    free(written);
}
