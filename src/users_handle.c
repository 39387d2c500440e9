/* users_handle.c: looks for handles of a loop that lead into an image, and for what else of the
 * loop's thread lies in it. Of a handle only what libuv has set is read: the rest is whatever was in
 * its memory before. */
#include "users.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct search {
    const struct image *image;
    const uv_handle_t *found;
};

static bool leads_to(const struct image *image, const void *place)
{
    return place && image_contains(image, place);
}

/* libuv's queues are rings of pairs { next, previous }. */
static bool has_write(const struct image *image, void *const *queue)
{
    for (void *const *at = queue[0]; at && at != queue; at = at[0]) {
        const uv_write_t *write = (const void *)((const char *)at - offsetof(uv_write_t, queue));
        if (leads_to(image, write) || leads_to(image, (const void *)write->cb))
            return true;
    }
    return false;
}

static bool has_send(const struct image *image, void *const *queue)
{
    for (void *const *at = queue[0]; at && at != queue; at = at[0]) {
        const char *place = (const char *)at - offsetof(uv_udp_send_t, queue);
        const uv_udp_send_t *send = (const void *)place;
        if (leads_to(image, send) || leads_to(image, (const void *)send->send_cb))
            return true;
    }
    return false;
}

static bool is_stream_used(const struct image *image, const uv_stream_t *stream)
{
    const uv_connect_t *connect = stream->connect_req;
    const uv_shutdown_t *shutdown = stream->shutdown_req;
    return leads_to(image, (const void *)stream->alloc_cb) ||
           leads_to(image, (const void *)stream->read_cb) ||
           leads_to(image, (const void *)stream->connection_cb) || leads_to(image, connect) ||
           leads_to(image, shutdown) || (connect && leads_to(image, (const void *)connect->cb)) ||
           (shutdown && leads_to(image, (const void *)shutdown->cb)) ||
           has_write(image, stream->write_queue) || has_write(image, stream->write_completed_queue);
}

static bool is_udp_used(const struct image *image, const uv_udp_t *udp)
{
    return leads_to(image, (const void *)udp->alloc_cb) ||
           leads_to(image, (const void *)udp->recv_cb) ||
           has_send(image, udp->write_queue) || has_send(image, udp->write_completed_queue);
}

/* What is called while the handle is active. */
static const void *callback_of_active(const uv_handle_t *handle)
{
    switch (handle->type) {
    case UV_FS_EVENT: return (const void *)((const uv_fs_event_t *)handle)->cb;
    case UV_POLL: return (const void *)((const uv_poll_t *)handle)->poll_cb;
    case UV_PROCESS: return (const void *)((const uv_process_t *)handle)->exit_cb;
    case UV_SIGNAL: return (const void *)((const uv_signal_t *)handle)->signal_cb;
    case UV_IDLE: return (const void *)((const uv_idle_t *)handle)->idle_cb;
    case UV_CHECK: return (const void *)((const uv_check_t *)handle)->check_cb;
    case UV_PREPARE: return (const void *)((const uv_prepare_t *)handle)->prepare_cb;
    case UV_ASYNC: return (const void *)((const uv_async_t *)handle)->async_cb;
    default: return NULL;
    }
}

/* Its function is in a record of libuv's own, zeroed, that begins with what is asked for. */
static bool is_path_used(const struct image *image, const uv_fs_poll_t *poll)
{
    enum { BEGINNING = 64 };
    return users_find_pointer(image, poll->poll_ctx, BEGINNING) != NULL;
}

static bool is_active_used(const struct image *image, const uv_handle_t *handle)
{
    if (handle->type == UV_FS_POLL)
        return is_path_used(image, (const uv_fs_poll_t *)handle);
    return leads_to(image, callback_of_active(handle));
}

static bool is_handle_used(const struct image *image, const uv_handle_t *handle)
{
    if (leads_to(image, handle) || leads_to(image, handle->data))
        return true;
    if (uv_is_closing(handle) && leads_to(image, (const void *)handle->close_cb))
        return true;
    switch (handle->type) {
    case UV_NAMED_PIPE: case UV_TCP: case UV_TTY:
        return is_stream_used(image, (const uv_stream_t *)handle);
    case UV_UDP:
        return is_udp_used(image, (const uv_udp_t *)handle);
    case UV_TIMER:           /* also of one that stands: uv_timer_again starts it */
        return leads_to(image, (const void *)((const uv_timer_t *)handle)->timer_cb);
    default:
        return uv_is_active(handle) && is_active_used(image, handle);
    }
}

static void look_at(uv_handle_t *handle, void *context)
{
    struct search *search = context;
    bool is_worse = !search->found || uv_is_closing(search->found);
    if (is_worse && is_handle_used(search->image, handle))
        search->found = handle;
}

static bool find_variable(const struct image *image, char *why, size_t size)
{
    for (char **variable = environ; variable && *variable; variable++)
        if (image_contains(image, *variable)) {
            snprintf(why, size, "the environment's '%.*s' lies in it (putenv): use setenv, which "
                     "copies", (int)strcspn(*variable, "="), *variable);
            return true;
        }
    return false;
}

static bool find_buffer(const struct image *image, char *why, size_t size)
{
    FILE *const streams[] = {stdin, stdout, stderr};
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    for (int i = 0; i < 3; i++)
        if (leads_to(image, streams[i]->_IO_buf_base)) {
            snprintf(why, size, "the buffer of %s lies in it (setvbuf): give it another in "
                     "before_unload", names[i]);
            return true;
        }
    return false;
}

bool users_find_handle(const struct image *image, uv_loop_t *loop, char *why, size_t size,
                       bool *is_closing)
{
    struct search search = {image, NULL};
    uv_walk(loop, look_at, &search);
    *is_closing = search.found && uv_is_closing(search.found);
    if (!search.found)
        return find_variable(image, why, size) || find_buffer(image, why, size);
    const char *type = uv_handle_type_name(search.found->type);
    if (*is_closing)
        snprintf(why, size, "a %s handle of the loop is being closed", type);
    else
        snprintf(why, size, "a %s handle of the loop is in its memory or calls its code: close it "
                 "in before_unload", type);
    return true;
}
