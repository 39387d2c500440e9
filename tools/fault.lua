--- Makes every allocation and every system call of a reload fail, one after the other, and compares what is
--- left with what was before. Runs in build/hotlua-fault (tools/fault.mk): hotlua-fault tools/fault.lua [step
--- [operation]] tries every step-th point, of all operations or of one. Exit status 1 when anything was
--- wrong.
local core = require "hotlua.core"
local hot = require "hotlua"
local task = require "hotlua.task"
local uv = require "luv"

local fault = hot.self().api
local step, only = math.tointeger(tonumber(arg[1] or 1)), arg[2]
local directory = assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/fault-XXXXXX"))
local path = directory .. "/plugin.so"

-- Versions ----------------------------------------------------------------------------------------

local source = [[
#include <hotlua/plugin.h>
#include <string.h>
enum mode { IDLE, BUSY, %s };
struct point { int x, y; %s const char *label; };
struct session { int id; %s struct session *next; };
struct session *sessions;
struct node { struct node *next; struct point at; };
struct point corner = { 1, 2, .label = "corner" };
struct node second = { 0, { 3, 4, .label = "second" } }, first = { &second, { 5, 6, .label = "first" } };
enum mode mode = BUSY;
double table[%d] = { 1.5, 2.5 };
char name[24] = "plain";
int (*compare)(const char *, const char *) = strcmp;
static int calls, is_ready;
__attribute__((constructor)) static void begin(void) { is_ready = 1; }
int version(void) { return %d; }
int step(int by) { calls += by; return calls; }
struct point where(void) { return corner; }
double sum(struct point p, double scale) { return (p.x + p.y) * scale; }
int begin_session(int id)
{
    struct session *session = hot_new(struct session);
    if (session) { session->id = id; session->next = sessions; sessions = session; }
    return session != 0;
}
int session_sum(void) { int sum = 0; for (struct session *s = sessions; s; s = s->next) sum += s->id; return sum; }
void end_sessions(void)
{
    while (sessions) { struct session *gone = sessions; sessions = gone->next; hot_free(gone); }
}
int apply(int (*f)(int), int x) { return f(x); }
]]

local function compile(i)
  local shape = i % 2 == 0 and "long weight; short flags;" or ""
  local file <close> = assert(io.open(directory .. "/plugin.c", "w"))
  file:write(source:format(i % 2 == 0 and "ASLEEP" or "AWAY, ASLEEP", shape, shape, 16 + i, i))
  file:close()
  local command = "%s -g -shared -fPIC -I%sinclude -o %s/%d.so %s/plugin.c"
  assert(os.execute(command:format(os.getenv "CC" or "cc", arg[0]:match "^(.*)tools/", directory, i, directory)))
end

for i = 1, 2 do compile(i) end

local function put(i)
  assert(uv.fs_copyfile(("%s/%d.so"):format(directory, i), path .. ".next"))
  assert(os.rename(path .. ".next", path))
end

-- What is left ------------------------------------------------------------------------------------

local function count_entries(name)
  local request, count = assert(uv.fs_scandir(name)), 0
  while uv.fs_scandir_next(request) do count = count + 1 end
  return count
end

local function count_mappings()
  local count = 0
  for line in io.lines "/proc/self/maps" do
    if line:find("/hotlua-", 1, true) then count = count + 1 end
  end
  return count
end

-- The helper processes of the probe: one, or a few where one file was probed while another was.
local function children()
  local list = {}
  local threads = assert(uv.fs_scandir "/proc/self/task")
  for thread in function() return uv.fs_scandir_next(threads) end do
    local file <close> = io.open(("/proc/self/task/%s/children"):format(thread))
    for child in (file and file:read "a" or ""):gmatch "%d+" do list[#list + 1] = math.tointeger(child) end
  end
  return list
end

local function measure()
  collectgarbage()
  collectgarbage()
  -- As many as were needed at once: each thread is noted, and has a record and a guard once it has run a plugin.
  local of_helpers = 2 * #children()
  local of_threads = count_entries "/proc/self/task" + 2 * fault.fault_thread_count()
  return {
    blocks = fault.fault_block_count() - of_threads, mappings = count_mappings(),
    descriptors = count_entries "/proc/self/fd" - of_helpers,
    copies = count_entries(core.stage_directory()),
  }
end

local function difference(now, before)
  local words = {}
  for _, kind in ipairs { "blocks", "descriptors", "mappings", "copies" } do
    if now[kind] > before[kind] then
      words[#words + 1] = ("%d %s, were %d"):format(now[kind], kind, before[kind])
    end
  end
  return words[1] and table.concat(words, "; ")
end

local base = io.lines "/proc/self/maps"():match "^%x+"

-- The source line of an address in the program.
local function place_of(place)
  if not place then return "?" end
  local offset = hot.address(place) - tonumber(base, 16)
  local pipe <close> = io.popen(("addr2line -e %s 0x%x"):format(uv.exepath(), offset - 1))
  return (pipe:read("a"):match "([^/\n]+)\n" or "?")
end

local function describe_blocks()
  local words = {}
  for i = 0, 4 do
    local place = fault.fault_new_block(i)
    if not place then break end
    words[#words + 1] = place_of(place)
  end
  return table.concat(words, ", ")
end

-- Operations --------------------------------------------------------------------------------------

-- Each: what comes before (not failing), what fails, and whether a refusal is in order.
local operations = {}
local plugin, errors

local function load_plugin(options)
  put(1)
  plugin = hot.load(path, options)
  local api = plugin.api
  assert(api.step(3) == 3 and api.sum(api.where(), 2) == 6.0)
  for i = 1, 20 do assert(api.begin_session(i) == 1) end
  api.corner.x = 10
  api.name = "changed"
end

-- One for all: the stubs of dead callbacks are kept for a while.
local increment = hot.callback(function(x) return x + 1 end, "int (*)(int)")

-- The state that load_plugin made, of the version `i`.
local function check_state(i)
  local api = plugin.api
  assert(api.version() == i, "not the version that was live")
  assert(api.step(0) == 3 and api.corner.x == 10 and hot.string(api.name) == "changed", "the state has changed")
  assert(hot.string(api.corner.label) == "corner" and api.first.next.at.x == 3, "a pointer was lost")
  assert(api.session_sum() == 210, "an object was lost")
  assert(api.apply(increment, 4) == 5 and api.sum({ 1, 2 }, 2.0) == 6.0, "a call went wrong")
end

local function check_report(report)
  assert(report and report.ok == false, "neither a report nor success")
  assert(type(report.stage) == "string" and #report.stage > 0, "no stage")
  assert(type(report.error) == "string" and #report.error > 0, "no error")
  return ("refused (%s): %s"):format(report.stage, report.error)
end

operations[1] = {
  name = "load",
  prepare = function() put(1) end,
  run = function()
    local ok, message = pcall(hot.load, path)
    if ok then
      plugin = message
      return "done"
    end
    assert(type(message) == "string" and #message > 0 and not message:find "stack traceback", message)
    return "refused: " .. message
  end,
  check = function(outcome)
    if outcome ~= "done" then
      assert(not hot.get "plugin", "the plugin is still there")
      plugin = hot.load(path)
    end
    assert(plugin.api.version() == 1 and plugin.api.step(1) == 1)
  end,
}

operations[2] = {
  name = "reload",
  prepare = function()
    load_plugin { watch = false }
    put(2)
  end,
  run = function()
    local ok, report = plugin:reload()
    return ok and "done" or check_report(report)
  end,
  check = function(outcome)
    check_state(outcome == "done" and 2 or 1)
    assert(plugin:info().generation == (outcome == "done" and 2 or 1))
    local report, problem = plugin:reload()
    assert(report, problem)
    check_state(2)
  end,
}

operations[3] = {
  name = "change",
  prepare = function() load_plugin() end,
  run = function()
    local report
    plugin:on("loaded", function(_, r) report = r end)
    plugin:on("failed", function(r) report = r end)
    put(2)
    if not task.wait(function() return report end, 500) then error("the change was missed", 0) end
    return report.ok and "done" or check_report(report)
  end,
  check = function(outcome)
    check_state(outcome == "done" and 2 or 1)
    assert(plugin:reload())
    check_state(2)
  end,
}

operations[4] = {
  name = "rollback",
  prepare = function()
    load_plugin { watch = false }
    put(2)
    assert(plugin:reload())
  end,
  run = function()
    local ok, report = plugin:rollback()
    return ok and "done" or check_report(report)
  end,
  check = function(outcome)
    check_state(outcome == "done" and 1 or 2)
  end,
}

operations[5] = {
  name = "close",
  prepare = function()
    load_plugin()
    put(2)
    assert(plugin:reload())
  end,
  run = function()
    plugin:close()
    return "done"
  end,
  check = function()
    assert(not hot.get "plugin", "the plugin is still there")
    assert(not pcall(plugin.api.version), "a closed plugin was called")
  end,
}

-- The next probe needs a new helper process.
local function end_helpers()
  for _, child in ipairs(children()) do uv.kill(child, "sigkill") end
end

operations[6] = {
  name = "probe",
  prepare = function()
    operations[2].prepare()
    end_helpers()
  end,
  run = operations[2].run,
  check = operations[2].check,
}

operations[7] = {
  name = "rehearse",
  prepare = function()
    load_plugin { watch = false, rehearse = function(api) assert(api.version() == 1 or api.session_sum() == 210) end }
    put(2)
  end,
  run = operations[2].run,
  check = operations[2].check,
}

local function build_command(i)
  return ("cp %s/%d.so %s.made && mv %s.made %s"):format(directory, i, path, path, path)
end

-- A watched source changes, a command makes the file anew.
operations[8] = {
  name = "build",
  prepare = function()
    load_plugin { watch = { directory .. "/plugin.c" }, build = build_command(2) }
  end,
  run = function()
    local report
    plugin:on("loaded", function(_, r) report = r end)
    plugin:on("failed", function(r) report = r end)
    local file <close> = assert(io.open(directory .. "/plugin.c", "w"))
    file:close()
    if not task.wait(function() return report end, 500) then error("the change was missed", 0) end
    return report.ok and "done" or check_report(report)
  end,
  check = function(outcome)
    put(2)
    operations[3].check(outcome)
  end,
}

-- Two plugins, of which a failure may cost one or both.
local folder, folder_path = nil, directory .. "/folder"
operations[9] = {
  name = "folder",
  prepare = function()
    uv.fs_mkdir(folder_path, 448)
    for i = 1, 2 do assert(uv.fs_copyfile(("%s/%d.so"):format(directory, i), ("%s/p%d.so"):format(folder_path, i))) end
  end,
  run = function()
    local show, refusals = task.on_error, {}
    task.on_error = function(message) refusals[#refusals + 1] = tostring(message) end
    local ok, result = pcall(hot.load_dir, folder_path, { watch = false })
    task.on_error = show
    folder = ok and result or nil
    if not ok then refusals[#refusals + 1] = result end
    return #refusals == 0 and "done" or "refused: " .. table.concat(refusals, "; ")
  end,
  check = function(outcome)
    if outcome == "done" then assert(#folder == 2, "a plugin is missing") end
    if not folder then return end
    for _, member in folder:each() do assert(member.api.step(1) == 1, "a call went wrong") end
    folder:close()
    folder = nil
  end,
}

-- The walk ----------------------------------------------------------------------------------------

local wrong = 0

local function complain(operation, n, message)
  wrong = wrong + 1
  io.stderr:write(("%s, point %d (%s, %s): %s\n"):format(operation.name, n, fault.fault_name() or "no failure",
    place_of(fault.fault_place()), message))
end

function task.on_error(message, what)
  errors[#errors + 1] = what .. ": " .. tostring(message)
end

-- Before the next: nothing of this one is under way.
local function finish()
  if plugin then
    if hot.get "plugin" then plugin.api.end_sessions() end
    plugin:close()
  end
  plugin = nil
end

local function await_rest(before)
  local now
  local is_same = task.wait(function()
    now = measure()
    return not difference(now, before)
  end, 300)
  return is_same, now
end

-- One operation with the n-th point failing. Returns whether it was reached, and what came of it.
local function try(operation, n)
  errors = {}
  operation.prepare()
  fault.fault_arm(n)
  local ok, outcome = pcall(operation.run)
  local passed = fault.fault_disarm()
  local name = fault.fault_name()
  if not ok then
    complain(operation, n, outcome)
  else
    local fine, message = xpcall(operation.check, debug.traceback, outcome)
    if not fine then complain(operation, n, ("%s: %s"):format(outcome, message)) end
  end
  for _, message in ipairs(errors) do complain(operation, n, message) end
  finish()
  return name ~= nil, outcome, passed
end

local function walk(operation)
  local n, refused, tolerated = 1, 0, 0
  for _ = 1, 4 do try(operation, 0) end
  local _, before = await_rest { blocks = 0, descriptors = 0, mappings = 0, copies = 0 }
  while true do
    fault.fault_mark()
    local is_reached, outcome = try(operation, n)
    local is_same, now = await_rest(before)
    if not is_same then
      complain(operation, n, ("%s: left behind: %s (%s)"):format(outcome, difference(now, before), describe_blocks()))
      before = now
    end
    if not is_reached then break end
    if outcome == "done" then tolerated = tolerated + 1 else refused = refused + 1 end
    n = n + step
  end
  print(("%-10s %5d points, %5d refused, %5d made no difference"):format(operation.name, n - 1, refused, tolerated))
end

-- A whole process, the first load of which has everything to set up. It ends well, or with status 1 and a
-- message.
local whole = [[
local hot = require "hotlua"
local plugin = hot.load(arg[1])
assert(plugin.api.version() == 1 and plugin.api.step(3) == 3)
local report, refusal = plugin:reload()
assert(report or refusal.error)
plugin:close()
print "ended well"
]]

local function run_whole(n)
  local command = "HOTLUA_FAULT=%d timeout -k 1 10 %s %s/whole.lua %s 2>&1"
  local pipe = assert(io.popen(command:format(n, uv.exepath(), directory, path)))
  local output = pipe:read "a"
  local _, how, status = pipe:close()
  local said = output:gsub("fault: [^\n]*\n", "")
  local is_well = how == "exit" and (status == 0 and said == "ended well\n" or status == 1 and #said > 0)
  if not is_well then
    complain({ name = "process" }, n, ("%s %d: %s"):format(how, status, output))
  end
  return not output:find "fault: not reached", status == 0
end

local function walk_process()
  local n, refused, tolerated = 1, 0, 0
  put(1)
  local file <close> = assert(io.open(directory .. "/whole.lua", "w"))
  file:write(whole)
  file:close()
  while true do
    local is_reached, is_well = run_whole(n)
    if not is_reached then break end
    if is_well then tolerated = tolerated + 1 else refused = refused + 1 end
    n = n + step
  end
  print(("%-10s %5d points, %5d refused, %5d made no difference"):format("process", n - 1, refused, tolerated))
end

fault.fault_arm(0)
fault.fault_disarm() -- their own compilation is not to fail
put(1)
for _ = 1, 70 do hot.load(path, { watch = false }):close() end -- as many as are remembered when they are gone
for _, operation in ipairs(operations) do
  if not only or only == operation.name then walk(operation) end
end
if not only or only == "process" then walk_process() end
os.execute("rm -rf " .. directory)
print(wrong == 0 and "all well" or ("%d wrong"):format(wrong))
os.exit(wrong == 0)
