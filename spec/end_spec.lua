-- The end of an image: its destructors, its exit handlers and the static objects of C++.
local t = require "hotlua.test"

local has_cxx = os.execute("command -v g++ >/dev/null 2>&1")

-- Reloads until the last of the sources is live, then closes; returns how each image ended.
local function through(sources, build, enter)
  local ends = {}
  local plugin = t.load(build(sources[1]), { keep = 0, on = {
    unloaded = function(generation, why) ends[generation] = why or "gone" end,
  } })
  enter(plugin.api)
  for i = 2, #sources do
    assert(t.swap(plugin, build(sources[i])))
    t.await(function() return ends[i - 1] end, 5000)
    enter(plugin.api)
  end
  plugin:close()
  return ends
end

describe("an image whose state the next one has", function()
  local source = [[
#include <stdlib.h>
#include <string.h>
static char *text;
const char *get(void) { return text; }
void start(void) { if (!text) text = strdup("something of thirty-two letters."); }
int version(void) { return %d; }
__attribute__((destructor)) static void end(void) { free(text); text = 0; }
]]

  it("ends without its destructors, which would free what is the next one's", function()
    local sources = { source:format(1), source:format(2), source:format(3) }
    local ends = through(sources, t.build, function(api)
      api.start()
      assert.are.equal("something of thirty-two letters.", api.get())
    end)
    assert.are.same({ "gone", "gone", "gone" }, ends)
  end)

  it("ends without its exit handlers", function()
    local path = t.tmpdir() .. "/ends"
    local function build(version)
      return t.build(([[
#include <stdio.h>
#include <stdlib.h>
static int is_open;
static void end(void) { FILE *file = fopen("%s", "a"); fprintf(file, "%d"); fclose(file); }
void start(void) { if (!is_open) atexit(end); is_open = 1; }
]]):format(path, version))
    end
    local plugin = t.load(build(1), { keep = 0 })
    plugin.api.start()
    assert(t.swap(plugin, build(2)))
    assert(t.swap(plugin, build(3)))
    plugin:close()
    assert.is_nil(io.open(path))
    plugin = t.load(build(4), { name = "other" })
    plugin.api.start()
    plugin:close()
    assert.are.equal("4", io.open(path):read("a"))
  end)

  it("ends without the destructors of its C++ objects #cxx", function()
    if not has_cxx then return pending("no g++") end
    local cxx = [[
#include <vector>
static std::vector<int> list;
extern "C" { int push(int i) { list.push_back(i); return list.size(); } int at(int i) { return list[i]; } }
extern "C" int version() { return %d; }
]]
    local count = 0
    local function build(version)
      return t.build({ ["list.cpp"] = cxx:format(version) }, "-fno-gnu-unique -lstdc++")
    end
    local ends = through({ 1, 2, 3 }, build, function(api)
      count = count + 1
      assert.are.equal(count, api.push(10 * count))
      for i = 1, count do assert.are.equal(10 * i, api.at(i - 1)) end
    end)
    assert.are.same({ "gone", "gone", "gone" }, ends)
  end)

  it("is the new one if its reload fails after the carry", function()
    local function refuse(new)
      if new.api.version() == 2 then error "no" end
    end
    local plugin = t.load(source:format(1), { migrate = refuse })
    plugin.api.start()
    local _, report = t.swap(plugin, source:format(2))
    assert.are.equal("migrate", report.stage)
    assert.are.equal("something of thirty-two letters.", plugin.api.get())
    assert(t.swap(plugin, source:format(3)))
    assert.are.equal("something of thirty-two letters.", plugin.api.get())
    assert(plugin:rollback())
    assert.are.equal("something of thirty-two letters.", plugin.api.get())
  end)
end)

describe("an image whose state nobody has", function()
  it("runs its destructors, the last first, and its exit handlers after them", function()
    local path = t.tmpdir() .. "/ends"
    local plugin = t.load(([[
#include <stdio.h>
#include <stdlib.h>
static void note(const char *text) { FILE *file = fopen("%s", "a"); fputs(text, file); fclose(file); }
static void one(void) { note("1"); }
static void two(void) { note("2"); }
__attribute__((constructor)) static void begin(void) { atexit(one); atexit(two); }
__attribute__((destructor)) static void first(void) { note("a"); }
__attribute__((destructor)) static void second(void) { note("b"); }
int version(void) { return 1; }
]]):format(path), { probe = false, keep = 0 })
    assert(t.swap(plugin, "int version(void) { return 2; }"))
    t.await(function() return #plugin:info().images == 1 end, 5000)
    assert.are.equal("ba21", io.open(path):read("a"))
  end)

  for how, pattern in pairs {
    ["*(volatile int *)8 = 1;"] = "SIGSEGV in 'finish' at .*%.c:4",
    ["exit(5);"] = "exit in 'finish' at .*%.c:4",
    ["abort();"] = "SIGABRT in 'finish'",
  } do
    it("is held when a destructor does " .. how .. " and the program goes on", function()
      local why
      local plugin = t.load(([[
#include <stdlib.h>
int is_in_use;
void enter(void) { is_in_use = 1; }
__attribute__((destructor)) static void finish(void) { if (is_in_use) { %s } }
]]):format(how), { on = { unloaded = function(_, reason) why = reason end } })
      plugin.api.enter()
      plugin:close()
      assert.matches("a destructor or exit handler did not end well: " .. pattern, why)
      assert.are.equal(3, t.load("int version(void) { return 3; }").api.version())
    end)
  end
end)
