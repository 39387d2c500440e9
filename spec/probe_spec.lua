-- The probe: what a constructor, a destructor or an exit handler does wrong is seen in another process,
-- and later loads are unharmed.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local function plugin_source(how, body, version)
  return ([[
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int calls;
int call(void) { return ++calls; }
int version(void) { return %d; }
static void work(void) { %s }
__attribute__((%s)) static void begin_or_end(void) { work(); }
]]):format(version or 2, body, how)
end

local good = plugin_source("constructor", "", 1)

local function start(options)
  local plugin = t.load(good, options)
  plugin.api.call()
  return plugin
end

local function check_alive(plugin)
  assert.are.equal(1, plugin.api.version())
  assert.are.equal(2, plugin.api.call())
end

describe("what happens while a file is opened or closed", function()
  local crashes = {
    { "reads from nowhere", "*(volatile int *)16 = 1;", "SIGSEGV" },
    { "aborts", "abort();", "SIGABRT" },
    { "fails an assertion", "assert(calls == 99);", "SIGABRT.*calls == 99" },
    { "divides by zero", "volatile int zero = 0; calls = 7 / zero;", "SIGFPE" },
    { "traps", "__builtin_trap();", "SIGILL" },
    { "overflows the stack", "volatile char room[4096]; room[0] = 1; work(); room[1] = 2;", "SIGSEGV" },
    { "smashes the heap", "char *p = malloc(8); for (int i = 0; i < 64; i++) p[i] = 7; free(p); free(p);", "SIGABRT", "AddressSanitizer" },
    { "kills itself", "kill(getpid(), SIGKILL);", "SIGKILL" },
    { "calls exit", "exit(3);", "status 3" },
    { "calls _exit", "_exit(0);", "status 0" },
    { "says why it goes", 'fprintf(stderr, "no licence\\n"); exit(1);', "no licence" },
  }
  for _, how in ipairs { "constructor", "destructor" } do
    for _, crash in ipairs(crashes) do
      it(("refuses a %s that %s"):format(how, crash[1]), function()
        local plugin = start()
        local none, report = t.swap(plugin, plugin_source(how, crash[2]))
        assert.is_nil(none)
        assert.are.equal("probe", report.stage)
        assert.matches(report.error:find(crash[4] or "^$") and crash[4] or crash[3], report.error)
        assert.matches(plugin:info().path, report.error, 1, true)
        assert.matches(how == "constructor" and "opened" or "closed", report.error)
        check_alive(plugin)
        assert.are.equal(2, t.load(plugin_source("constructor", "")).api.version())
      end)
    end
  end

  for _, how in ipairs { "constructor", "destructor" } do
    it(("ends a %s that hangs"):format(how), function()
      local plugin = start { watch = false }
      require("hotlua.reload").probe_limit(150)
      local began = uv.hrtime()
      local none, report = t.swap(plugin, plugin_source(how, "for (;;) pause();"))
      require("hotlua.reload").probe_limit()
      assert.is_nil(none)
      assert.is_true(uv.hrtime() - began < 2e9)
      assert.are.equal("probe", report.stage)
      assert.matches("not done after 150 ms", report.error)
      check_alive(plugin)
      assert.are.equal(2, assert(t.swap(plugin, plugin_source("constructor", ""))).generation)
    end)
  end

  it("refuses an atexit handler that crashes", function()
    local plugin = start()
    local none, report = t.swap(plugin, plugin_source("constructor", "atexit(abort);"))
    assert.is_nil(none)
    assert.matches("SIGABRT", report.error)
    check_alive(plugin)
  end)

  it("refuses an exit handler that is left behind in unmapped code", function()
    local plugin = start()
    local source = plugin_source("constructor", "on_exit(leave, 0);")
      :gsub("static void work", "static void leave(int status, void *unused) { calls = status; }\n%0")
    local none, report = t.swap(plugin, source)
    assert.is_nil(none)
    assert.matches("SIGSEGV.*left to be done at exit", report.error)
    check_alive(plugin)
  end)

  it("takes one that starts a thread", function()
    local plugin = start()
    local source = plugin_source("constructor",
      "pthread_create(&thread, 0, run, 0);")
      :gsub("static void work", [[
static pthread_t thread;
static volatile int must_stop;
static void *run(void *unused) { while (!must_stop) usleep(1000); return unused; }
__attribute__((destructor)) static void stop(void) { must_stop = 1; pthread_join(thread, 0); }
%0]])
    assert(t.swap(plugin, source))
    assert.are.equal(2, plugin.api.version())
  end)

  it("takes an orderly atexit handler, and output", function()
    local plugin = start()
    local source = plugin_source("constructor", 'atexit(leave); setvbuf(stdout, 0, _IOFBF, 4096);')
      :gsub("static void work", "static void leave(void) { calls = -1; }\n%0")
    assert(t.swap(plugin, source))
    assert.are.equal(2, plugin.api.version())
  end)
end)

describe("the probe", function()
  it("leaves the words to the loader when that refuses", function()
    local plugin = start()
    local none, report = t.swap(plugin, "int nowhere(void); int version(void) { return nowhere(); }")
    assert.is_nil(none)
    assert.are.equal("open", report.stage)
    assert.matches("nowhere", report.error)
    check_alive(plugin)
  end)

  it("is a stage with a time", function()
    local plugin = start()
    local report = assert(t.swap(plugin, plugin_source("constructor", "")))
    assert.is_true(report.us.probe > 0)
  end)

  it("can be left out", function()
    local plugin = start { probe = false }
    local report = assert(t.swap(plugin, plugin_source("destructor", "if (calls < 0) abort();")))
    assert.is_nil(report.us.probe)
  end)

  it("leaves no process and no descriptor behind", function()
    local plugin = start { watch = false }
    local function count()
      local descriptors = 0
      for _ in uv.fs_scandir_next, assert(uv.fs_scandir "/proc/self/fd") do descriptors = descriptors + 1 end
      return descriptors
    end
    local function swap(number)
      assert(t.swap(plugin, plugin_source("constructor", "", number)))
      t.swap(plugin, plugin_source("constructor", "abort();", number))
    end
    for number = 10, 13 do swap(number) end
    local before = count()
    for number = 14, 33 do swap(number) end
    -- A further helper may have been started meanwhile, one descriptor each; 40 files were probed.
    t.await(function() return count() <= before + 4 end)
    assert.are.equal(33, plugin.api.version())
  end)

  it("has another helper when one was killed", function()
    local plugin = start()
    local killed, processes, host = 0, assert(uv.fs_scandir "/proc"), ("%d"):format(uv.os_getpid())
    for pid in function() return uv.fs_scandir_next(processes) end do
      local file <close> = io.open("/proc/" .. pid .. "/stat")
      local stat = file and file:read("a") or ""
      if stat:match("%(hotlua%-probe%) %a (%d+)") == host then
        assert(uv.kill(tonumber(pid), "sigkill"))
        killed = killed + 1
      end
    end
    assert.is_true(killed > 0)
    assert(t.swap(plugin, plugin_source("constructor", "")))
    assert.are.equal(2, plugin.api.version())
    assert.is_true(#hot.plugins() > 0)
  end)

  it("ends what a constructor has started", function()
    local plugin = start()
    local mark = t.tmpdir() .. "/alive"
    local source = plugin_source("constructor", ([[
      if (fork() == 0) { for (;;) { FILE *f = fopen("%s", "w"); if (f) fclose(f); usleep(2000); } }
      abort();]]):format(mark))
    assert.is_nil((t.swap(plugin, source)))
    os.remove(mark)
    assert(t.swap(plugin, plugin_source("constructor", "", 3)))
    os.remove(mark)
    local began = uv.hrtime()
    t.await(function() return uv.hrtime() - began > 2e7 end)
    assert.is_nil((uv.fs_stat(mark)))
  end)
end)
