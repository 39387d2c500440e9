--- One plugin, changed again and again for a chosen time, well and badly, while two threads call it:
---   hotlua tools/soak.lua [seconds [seed]]
--- Ends with a table. Exit status 1 if an update or a result was lost, or anything was left behind.
local core = require "hotlua.core"
local hot = require "hotlua"
local uv = require "luv"

local seconds = tonumber(arg[1] or 10)
local seed = math.tointeger(tonumber(arg[2] or os.time()))
local directory = assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/soak-XXXXXX"))
local path, source_path = directory .. "/plugin.so", directory .. "/plugin.c"
math.randomseed(seed)
print(("soak: %g s, seed %d"):format(seconds, seed))

-- Versions, compiled once -------------------------------------------------------------------------

-- `serial` is written into each copy: no two have the same content.
local source = [[
#include <time.h>
struct account { %s };
struct account account = { .factor = 3 };
%s added_%d = %d;
static %s ticks;
__attribute__((visibility("default"))) const volatile char serial[] = "serial:0000000000";
long missing_function(void);
static void nap(int ms) { struct timespec t = { 0, ms * 1000000L }; nanosleep(&t, 0); }
__attribute__((constructor)) static void begin(void) { %s; nap(0); }
int init(void) { %s; return 1; }
int number(void) { int n = 0; for (int i = 7; i < 17; i++) n = n * 10 + serial[i] - '0'; return n; }
long add(long by) { %s; account.total += by; account.calls++; return account.total; }
long tick(void) { return ++ticks; }
double scale(double x, int n) { return x * n * account.factor; }
const char *say(const char *text) { static char said[64]; for (int i = 0; i < 63; i++) if (!(said[i] = text[i])) break;
  return said; }
]]

local layouts = {
  "long total; int calls; int factor;",
  "int factor; long calls; long total;",
  "char note[40]; long total; short factor; int calls; double rate;",
}
local crash = "*(volatile int *)16 = 1"
local spoiled = { -- in the constructor, in init, in add
  ["missing symbol"] = { "missing_function()", "", "" },
  ["crash in constructor"] = { crash, "", "" },
  ["crash in before_load"] = { "", crash, "" },
  ["crash in a call"] = { "", "", crash },
  slow = { "nap(30)", "nap(5)", "" },
}
local versions = {} -- kind -> contents

local function compile(kind, i)
  local parts = spoiled[kind] or { "", "", "" }
  local file <close> = assert(io.open(directory .. "/version.c", "w"))
  local wide = i % 2 == 0 and "long" or "int"
  file:write(source:format(layouts[i % #layouts + 1], wide, i, i, wide, parts[1], parts[2], parts[3]))
  file:close()
  local command = "%s -g -O1 -shared -fPIC -o %s/version.so %s/version.c"
  assert(os.execute(command:format(os.getenv "CC" or "cc", directory, directory)))
  local made <close> = assert(io.open(directory .. "/version.so", "rb"))
  versions[kind] = versions[kind] or {}
  table.insert(versions[kind], made:read "a")
end

for i = 1, 4 do compile("good", i) end
local number_of_kinds = 4
for kind in pairs(spoiled) do
  number_of_kinds = number_of_kinds + 1
  compile(kind, number_of_kinds)
end

-- Changing the file -------------------------------------------------------------------------------

local serial = 0

local function new_content(kind)
  serial = serial + 1
  local list = versions[kind]
  return (list[math.random(#list)]:gsub("serial:%d+", ("serial:%010d"):format(serial)))
end

local function write(name, content)
  local file <close> = assert(io.open(name, "wb"))
  file:write(content)
end

local function put(kind)
  local content = new_content(kind)
  write(path .. ".next", content)
  assert(os.rename(path .. ".next", path))
  return serial
end

-- Counting ----------------------------------------------------------------------------------------

local count = {
  reloads = 0, ["crashes caught"] = 0, rollbacks = 0, calls = 0, ["lost updates"] = 0, ["wrong results"] = 0, leaks = 0,
}
local refusals, complaints = {}, {}
local longest_pause_us, total, calls = 0, 0, 0
local plugin, api

local function complain(what, ...)
  count[what] = count[what] + 1
  if #complaints < 20 then complaints[#complaints + 1] = what .. ": " .. string.format(...) end
end

local function is_live(wanted)
  local ok, number = pcall(api.number)
  return ok and number == wanted
end

-- A few calls of each kind; every result is known beforehand.
local function call_some(n)
  for i = 1, n do
    local by = math.random(-1000, 1000)
    local ok, result = pcall(api.add, by)
    calls = calls + 1
    if ok then
      total = total + by
      if result ~= total then
        complain("lost updates", "add gave %s, not %d, in generation %d", result, total, plugin:info().generation)
        total = result
      end
    elseif tostring(result):find "SIGSEGV" then
      count["crashes caught"] = count["crashes caught"] + 1
    else
      complain("wrong results", "add: %s", result)
    end
    if api.scale(i, 2) ~= i * 6.0 then complain("wrong results", "scale") end
    if api.say("text") ~= "text" then complain("wrong results", "say") end
  end
end

-- Calls go on until the predicate holds.
local function call_until(predicate, limit_ms)
  local limit = core.now() + limit_ms * 1000000
  repeat
    call_some(20)
    if math.random(2) == 1 then hot.poll() else hot.sleep(math.random() * 2) end
    if predicate() then return true end
  until core.now() > limit
  return false
end

-- The other thread --------------------------------------------------------------------------------

local function tick_on()
  local hot = require "hotlua" -- luacheck: ignore (a worker has no upvalues)
  local done, expected, lost = false, 0, 0
  hot.parent:on("message", function() done = true end)
  local api = hot.get("soaked").api -- luacheck: ignore
  while not done do
    for _ = 1, 20 do
      local ticks = api.tick()
      if ticks ~= expected + 1 then lost = lost + 1 end
      expected = ticks
    end
    hot.sleep(1)
  end
  return expected, lost
end

-- What is left ------------------------------------------------------------------------------------

local function count_entries(name)
  local request, entries = assert(uv.fs_scandir(name)), 0
  while uv.fs_scandir_next(request) do entries = entries + 1 end
  return entries
end

local function measure()
  collectgarbage()
  collectgarbage()
  local kilobytes
  for line in io.lines "/proc/self/status" do kilobytes = kilobytes or line:match "RssAnon:%s*(%d+)" end
  return {
    files = count_entries(core.stage_directory()), descriptors = count_entries "/proc/self/fd",
    kilobytes = tonumber(kilobytes), images = #plugin:info().images,
  }
end

-- Crashed images stay mapped: what is beyond them was left behind.
local function compare(before, now)
  local held = now.images - before.images
  for _, kind in ipairs { "files", "descriptors" } do
    local most = before[kind] + held + 2 -- a refused image is remembered; a probe's helper may have been added
    if now[kind] > most then complain("leaks", "%d %s, %d expected at most", now[kind], kind, most) end
  end
  local most = before.kilobytes + 8192 + 256 * held
  if now.kilobytes > most then complain("leaks", "%d kB of memory, %d expected at most", now.kilobytes, most) end
end

-- The life of the plugin --------------------------------------------------------------------------

local last_failed, failed_count = nil, 0
local has_build_failed = false

local function load()
  put "good"
  write(source_path, "")
  plugin = hot.load(path, {
    name = "soaked", watch = { source_path },
    build = function() return not has_build_failed, "the compiler says no" end,
    on = {
      before_load = function(new) assert(new.api.init() == 1) end,
      loaded = function(_, report)
        count.reloads = count.reloads + 1
        longest_pause_us = math.max(longest_pause_us, report.pause_us)
      end,
      failed = function(report)
        last_failed, failed_count = report, failed_count + 1
        refusals[report.stage] = (refusals[report.stage] or 0) + 1
      end,
      rolled_back = function(report)
        count.rollbacks = count.rollbacks + 1
        longest_pause_us = math.max(longest_pause_us, report.pause_us)
      end,
    },
  })
  api = plugin.api
end

local acts = {}

local function expect_live(wanted, what)
  if not call_until(function() return is_live(wanted) end, 5000) then
    complain("lost updates", "%s: version %d did not come; %s", what, wanted, tostring(plugin:info().last))
  end
end

local function expect_refusal(kind, stages)
  local before, live = failed_count, api.number()
  put(kind)
  if not call_until(function() return failed_count > before end, 5000) then
    complain("lost updates", "%s: no report", kind)
  elseif not stages:find(last_failed.stage, 1, true) then
    complain("wrong results", "%s: refused at '%s': %s", kind, last_failed.stage, last_failed.error)
  end
  if not is_live(live) then complain("wrong results", "%s: another version is live", kind) end
end

function acts.good() expect_live(put "good", "good") end
function acts.slow() expect_live(put "slow", "slow") end
acts["missing symbol"] = function() expect_refusal("missing symbol", "probe open") end
acts["crash in constructor"] = function() expect_refusal("crash in constructor", "probe") end
acts["crash in before_load"] = function() expect_refusal("crash in before_load", "before_load") end

-- Seldom enough for the brake on loops of crashes.
local crash_every_ns <const> = 2500 * 1000000
local last_crash = core.now() - crash_every_ns

acts["crash in a call"] = function()
  if core.now() - last_crash < crash_every_ns then return acts.good() end
  last_crash = core.now()
  local before, live = count.rollbacks, api.number()
  put "crash in a call"
  if not call_until(function() return count.rollbacks > before end, 5000) then
    complain("lost updates", "no rollback after a crash: %s", last_failed and last_failed.error)
  end
  if not is_live(live) then complain("wrong results", "another version than before is live after a crash") end
end

acts["half-written"] = function()
  local live, content = api.number(), new_content "good"
  local file <close> = assert(io.open(path, "wb"))
  file:write((content:sub(1, math.random(#content - 1))))
  file:close() -- whole, as far as anybody can tell from outside
  call_until(function() return false end, math.random(30))
  if not is_live(live) then complain("wrong results", "a half-written file is live") end
  write(path, content)
  expect_live(serial, "half-written")
end

acts["slow writer"] = function()
  local content = new_content "good"
  local file <close> = assert(io.open(path, "wb"))
  for from = 1, #content, 4096 do
    file:write((content:sub(from, from + 4095)))
    file:flush()
    call_some(5)
  end
  file:close()
  expect_live(serial, "slow writer")
end

acts["failed build"] = function()
  local before = failed_count
  has_build_failed = true
  write(source_path, tostring(serial))
  if not call_until(function() return failed_count > before end, 5000) then
    complain("lost updates", "a failed build: no report")
  end
  has_build_failed = false
end

-- Faster than they can be taken: the last one counts.
acts.flurry = function()
  for _ = 1, math.random(2, 6) do
    put(math.random(3) == 1 and "missing symbol" or "good")
    call_some(math.random(30))
    if math.random(2) == 1 then hot.sleep(math.random() * 3) end
  end
  expect_live(put "good", "flurry")
end

acts.rollback = function()
  acts.good()
  local report, problem = plugin:rollback()
  if not report then complain("wrong results", "rollback: %s", problem) end
  acts.good()
end

local names = {}
for name in pairs(acts) do names[#names + 1] = name end
table.sort(names)
for _ = 1, 4 do names[#names + 1] = "good" end

-- The run -----------------------------------------------------------------------------------------

load()
total = api.add(0)
local worker = hot.worker(tick_on)
for _, name in ipairs(names) do acts[name]() end
local before = measure()
local ends = core.now() + seconds * 1000000000
while core.now() < ends do acts[names[math.random(#names)]]() end
acts.good()
worker:send "end"
local ticks, lost = worker:join()
if not ticks or lost > 0 then complain("lost updates", "of the worker: %s", ticks and lost or lost) end
hot.sleep(200)
compare(before, measure())
count.calls = 3 * calls + (ticks or 0)
plugin:close()
os.execute("rm -rf " .. directory)

for _, what in ipairs { "calls", "reloads", "rollbacks", "crashes caught" } do
  print(("%-20s %9d"):format(what, count[what]))
end
local stages = {}
for stage in pairs(refusals) do stages[#stages + 1] = stage end
table.sort(stages)
for _, stage in ipairs(stages) do print(("%-20s %9d"):format("refused, " .. stage, refusals[stage])) end
print(("%-20s %9.2f ms"):format("longest pause", longest_pause_us / 1000))
local bad = 0
for _, what in ipairs { "lost updates", "wrong results", "leaks" } do
  bad = bad + count[what]
  print(("%-20s %9d"):format(what, count[what]))
end
for _, complaint in ipairs(complaints) do io.stderr:write(complaint, "\n") end
os.exit(bad == 0, true)
