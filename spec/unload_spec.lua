-- What keeps an image mapped: found, said, and let go of when it is over.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local function load(source, options)
  options = options or {}
  options.keep = 0
  local gone = {}
  options.on = { unloaded = function(generation, why) gone[#gone + 1] = { generation, why } end }
  return t.load(source, options), gone
end

local function image_of(plugin, generation)
  for _, image in ipairs(plugin:info().images) do
    if image.generation == generation then return image end
  end
end

-- Replaces the plugin and waits until its first image has been looked at.
local function replace(plugin, gone, source)
  assert(t.swap(plugin, source or "int version(void) { return 2; }"))
  t.await(function() return gone[1] end)
  assert.are.equal(1, gone[1][1])
  return gone[1][2]
end

local function is_held(plugin, gone, pattern, source)
  assert.matches(pattern, replace(plugin, gone, source))
  assert.are.equal("held", image_of(plugin, 1).state)
  assert.matches(pattern, image_of(plugin, 1).why)
end

local function goes(plugin, gone)
  t.await(function() return gone[2] end, 15000)
  assert.are.same({ 1 }, gone[2])
  assert.is_nil(image_of(plugin, 1))
end

describe("an image is kept while", function()
  it("a thread that it started is running, and goes when that has ended", function()
    local plugin, gone = load [[
#include <pthread.h>
#include <unistd.h>
static int ends[2];
static void *wait_for_end(void *unused) { char c; (void)unused; while (read(ends[0], &c, 1) < 0) ; return 0; }
int start(void) { pthread_t thread; if (pipe(ends)) return -1; pthread_create(&thread, 0, wait_for_end, 0);
                  pthread_detach(thread); return ends[1]; }
]]
    local descriptor = plugin.api.start()
    is_held(plugin, gone, "^its function 'wait_for_end' is running in thread %d+, which it started")
    uv.fs_write(descriptor, "x")
    goes(plugin, gone)
    uv.fs_close(descriptor)
  end)

  it("a thread that it started with C11's thrd_create is running", function()
    local plugin, gone = load [[
#include <threads.h>
#include <unistd.h>
static int ends[2];
static int wait_for_end(void *unused) { char c; (void)unused; while (read(ends[0], &c, 1) < 0) ; return 0; }
int start(void) { thrd_t thread; if (pipe(ends)) return -1; thrd_create(&thread, wait_for_end, 0);
                  thrd_detach(thread); return ends[1]; }
]]
    local descriptor = plugin.api.start()
    is_held(plugin, gone, "^its function 'wait_for_end' is running in thread %d+")
    uv.fs_write(descriptor, "x")
    goes(plugin, gone)
    uv.fs_close(descriptor)
  end)

  it("a timer calls its code, and goes when the timer is deleted", function()
    local plugin, gone = load [[
#include <signal.h>
#include <time.h>
static timer_t timer;
static void on_time(union sigval value) { (void)value; }
void *start(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_time};
    struct itimerspec often = {{0, 5000000}, {0, 5000000}};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &often, 0);
    return timer;
}
]]
    local timer = plugin.api.start()
    is_held(plugin, gone, "^its function 'on_time' is to be called by a timer",
      "#include <time.h>\nvoid stop(void *timer) { timer_delete(timer); }")
    plugin.api.stop(timer)
    goes(plugin, gone)
  end)

  it("it handles a signal", function()
    local plugin, gone = load [[
#include <signal.h>
static void on_usr2(int number) { (void)number; }
void take(void) { signal(SIGUSR2, on_usr2); }
]]
    plugin.api.take()
    is_held(plugin, gone, "^its function 'on_usr2' handles the signal SIGUSR2$",
      "#include <signal.h>\nvoid give_back(void) { signal(SIGUSR2, SIG_DFL); }")
    plugin.api.give_back()
    goes(plugin, gone)
  end)

  it("it has a destructor of thread-specific data", function()
    local plugin, gone = load [[
#include <pthread.h>
static pthread_key_t key;
static void forget(void *data) { (void)data; }
unsigned make(void) { pthread_key_create(&key, forget); return key; }
]]
    local key = plugin.api.make()
    is_held(plugin, gone, "^its function 'forget' is to be called at a thread's end",
      "#include <pthread.h>\nvoid remove_key(unsigned key) { pthread_key_delete(key); }")
    plugin.api.remove_key(key)
    goes(plugin, gone)
  end)

  it("another plugin's variable points into it", function()
    local other = t.load "static const void *list[4]; void keep(const void *p) { list[2] = p; }"
    local plugin, gone = load "int numbers[8]; int *where(void) { return &numbers[3]; }"
    other.api.keep(plugin.api.where())
    is_held(plugin, gone, "^'list' of plugin '.*' points into it$")
    other.api.keep(nil)
    goes(plugin, gone)
  end)

  it("the environment lies in it", function()
    local plugin, gone = load [[
#include <stdlib.h>
static char text[] = "HOTLUA_UNLOAD_SPEC=1";
void put(void) { putenv(text); }
]]
    plugin.api.put()
    is_held(plugin, gone, "^the environment's 'HOTLUA_UNLOAD_SPEC' lies in it %(putenv%)")
    assert.are.equal("1", os.getenv "HOTLUA_UNLOAD_SPEC")
    uv.os_unsetenv "HOTLUA_UNLOAD_SPEC"
    goes(plugin, gone)
  end)

  it("a standard stream has its buffer there", function()
    local plugin, gone = load [[
#include <stdio.h>
static char buffer[4096];
void take(void) { setvbuf(stdin, buffer, _IOFBF, sizeof buffer); }
]]
    plugin.api.take()
    is_held(plugin, gone, "^the buffer of stdin lies in it %(setvbuf%)",
      "#include <stdio.h>\nvoid give_back(void) { setvbuf(stdin, 0, _IONBF, 0); }")
    plugin.api.give_back()
    goes(plugin, gone)
  end)

  it("a handle of the loop calls it", function()
    local plugin, gone = load [[
#include <stdlib.h>
typedef struct uv_loop_s uv_loop_t; typedef struct uv_handle_s uv_handle_t;
uv_loop_t *uv_default_loop(void);
size_t uv_handle_size(int type); size_t uv_loop_size(void);
int uv_timer_init(uv_loop_t *, void *); int uv_timer_start(void *, void (*)(void *), unsigned long, unsigned long);
void uv_unref(void *); void uv_close(void *, void (*)(void *));
static void tick(void *timer) { (void)timer; }
void *start(uv_loop_t *loop) { void *timer = calloc(1, uv_handle_size(13)); uv_timer_init(loop, timer);
                               uv_timer_start(timer, tick, 1000000, 0); uv_unref(timer); return timer; }
]]
    local timer = plugin.api.start(hot.loop())
    is_held(plugin, gone, "^a timer handle of the loop is in its memory or calls its code",
      "void uv_close(void *, void (*)(void *)); void stop(void *timer) { uv_close(timer, 0); }")
    plugin.api.stop(timer)
    goes(plugin, gone)
  end)
end)

describe("an image goes at once", function()
  it("when its threads have ended and its handlers are taken back", function()
    local plugin, gone = load [[
#include <pthread.h>
#include <signal.h>
static void *run(void *p) { return p; }
static void on_usr2(int number) { (void)number; }
void use(void) { pthread_t thread; pthread_create(&thread, 0, run, 0); pthread_join(thread, 0);
                 signal(SIGUSR2, on_usr2); signal(SIGUSR2, SIG_DFL); }
]]
    plugin.api.use()
    assert.is_nil(replace(plugin, gone))
    assert.is_nil(image_of(plugin, 1))
  end)
end)

describe("a handle of the loop in the image's own memory", function()
  local source = [[
typedef struct uv_loop_s uv_loop_t;
int uv_timer_init(uv_loop_t *, void *); int uv_timer_start(void *, void (*)(void *), unsigned long, unsigned long);
void uv_close(void *, void (*)(void *));
static _Alignas(16) char timer[512];
static void tick(void *unused) { (void)unused; }
static int closed;
static void on_closed(void *unused) { (void)unused; closed++; }
void start(uv_loop_t *loop) { uv_timer_init(loop, timer); uv_timer_start(timer, tick, 1000000, 0); }
void stop(int calls_back) { uv_close(timer, calls_back ? on_closed : 0); }
int version(void) { return %d; }
]]

  for _, calls_back in ipairs { 0, 1 } do
    it("may be closed in before_unload, with a callback: " .. calls_back, function()
      local plugin, gone = load(source:format(1))
      plugin:on("before_unload", function(old) old.api.stop(calls_back) end)
      plugin.api.start(hot.loop())
      assert.is_nil(replace(plugin, gone, "int version(void) { return 2; } void stop(int x) { (void)x; }"))
      hot.sleep(20)
      assert.is_nil(image_of(plugin, 1))
    end)
  end

  it("may be closed in before_unload of a plugin that is closed", function()
    local plugin, gone = load(source:format(3))
    plugin:on("before_unload", function(old) old.api.stop(1) end)
    plugin.api.start(hot.loop())
    plugin:close()
    assert.are.same({ { 1 } }, gone)
    assert.is_nil(image_of(plugin, 1))
  end)
end)

describe("a handle that before_unload closes at the program's end", function()
  it("is closed before the image goes, also at the end by a signal", function()
    local path = t.build [[
#include <stdio.h>
typedef struct uv_loop_s uv_loop_t;
int uv_timer_init(uv_loop_t *, void *); int uv_timer_start(void *, void (*)(void *), unsigned long, unsigned long);
void uv_close(void *, void (*)(void *));
static _Alignas(16) char timer[512];
static void tick(void *unused) { (void)unused; }
static void on_closed(void *unused) { (void)unused; printf("closed "); fflush(stdout); }
void start(uv_loop_t *loop) { uv_timer_init(loop, timer); uv_timer_start(timer, tick, 1000000, 0); }
void stop(void) { uv_close(timer, on_closed); }
]]
    local script = ([[io.stdout:setvbuf "no"
local hot = require "hotlua"
local plugin = hot.load("%s", { watch = false, on = {
  before_unload = function(old) old.api.stop() end,
  unloaded = function(...) print("unloaded", ...) end,
} })
plugin.api.start(hot.loop())
if arg[1] then require "luv".kill(require "luv".os_getpid(), arg[1]) hot.run() else hot.stop() end
]]):format(path)
    local directory = t.tmpdir()
    t.write(directory .. "/main.lua", script)
    for _, ending in ipairs { "", "sigterm" } do
      local pipe <close> = io.popen(("'%s' %s/main.lua %s 2>&1"):format(uv.exepath(), directory, ending))
      assert.are.equal("closed unloaded\t1\tnil\n", pipe:read("a"))
    end
  end)
end)

describe("a handle of the loop made of used memory", function()
  it("keeps no image that this memory pointed into", function()
    local plugin, gone = load [[
#include <stdlib.h>
static void *blocks[20000];
void dirty(void)
{
    int count = 0;
    for (size_t size = 104; size < 1000; size += 16)
        for (int n = 0; n < 300; n++) {
            void **block = blocks[count++] = malloc(size);
            for (size_t i = 0; i < size / sizeof *block; i++) block[i] = &blocks[7];
        }
    while (count-- > 0) free(blocks[count]);
}
]]
    plugin.api.dirty()
    local handles = {}
    for i = 1, 50 do
      handles[3 * i], handles[3 * i + 1], handles[3 * i + 2] = uv.new_timer(), uv.new_tcp(), uv.new_idle()
      handles[3 * i]:start(1000000, 0, function() end)
    end
    local why = replace(plugin, gone)
    for _, handle in pairs(handles) do handle:close() end
    assert.is_nil(why)
  end)
end)

describe("handlers of fork", function()
  it("go with an image whose state has moved on", function()
    local source = [[
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static int count;
static void before(void) { count++; }
void start(void) { count = 1; pthread_atfork(before, 0, 0); }
int get(void) { return count; }
int child(void) { int status; pid_t id = fork(); if (!id) _exit(3); waitpid(id, &status, 0); return status >> 8; }
int version(void) { return %d; }
]]
    local plugin, gone = load(source:format(1))
    plugin.api.start()
    assert.are.equal(3, plugin.api.child())
    assert.is_nil(replace(plugin, gone, source:format(2)))
    assert.are.equal(3, plugin.api.child())
    assert.are.equal(2, plugin.api.get())
  end)
end)

describe("what was noted of an address before the image lay there", function()
  it("keeps no image", function()
    local other = t.load [[
#include <pthread.h>
static pthread_key_t keys[256];
void make(long around) { for (int i = 0; i < 256; i++)
    pthread_key_create(&keys[i], (void (*)(void *))(around + (i - 128) * 32768L)); }
void forget(void) { for (int i = 0; i < 256; i++) pthread_key_delete(keys[i]); }
]]
    local source = "char room[1 << 20]; int version(void) { return %d; }"
    local first = load(source:format(1))
    local base = image_of(first, 1).base
    first:close()
    other.api.make(base)
    local plugin, gone = load(source:format(3))
    local moved = image_of(plugin, 1).base - base
    local why = replace(plugin, gone)
    other.api.forget()
    assert.is_true(math.abs(moved) < 4 << 20)
    assert.is_nil(why)
  end)
end)

describe("plugin:close", function()
  it("leaves the code to a thread that runs in it", function()
    local plugin, gone = load [[
#include <pthread.h>
#include <unistd.h>
static volatile int turns, ends;
static void *spin(void *p) { while (!ends) { turns++; usleep(1000); } ends = 2; return p; }
volatile int *start(void) { pthread_t thread; pthread_create(&thread, 0, spin, 0); pthread_detach(thread);
                            return &ends; }
]]
    local ends = hot.address(plugin.api.start())
    plugin:close()
    assert.matches("'spin' is running in thread", gone[1][2])
    local flag = hot.cast("int *", ends)
    flag[0] = 1
    t.await(function() return gone[2] end, 15000)
  end)
end)

describe("HOTLUA_SCAN", function()
  it("lists the words of memory that point into an image about to go", function()
    local directory = t.tmpdir()
    local path = t.build [[
#include <stdlib.h>
int numbers[8];
void leave(void) { int **list = malloc(64); list[1] = &numbers[5]; }
]]
    t.write(directory .. "/main.lua", ([[
local plugin = require "hotlua".load("%s", { watch = false })
plugin.api.leave()
plugin:close()
]]):format(path))
    local pipe = assert(io.popen(("HOTLUA_SCAN=1 '%s' %s/main.lua 2>&1"):format(uv.exepath(), directory)))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    assert.matches("scan: what points into .*generation 1:\n", output)
    assert.matches("scan:   0x%x+ in %S+: its code at 0x%x+", output)
    assert.matches("scan: %d+ words", output)
  end)
end)
