--- hotlua.test: plugins, their reloads and their failures in busted specs. What a test makes is
--- gone after it.
local core = require "hotlua.core"
local hot = require "hotlua"
local assertions = require "hotlua.test.assertions"
local build = require "hotlua.test.build"
local files = require "hotlua.test.files"
local isolate = require "hotlua.test.isolate"
local matrix = require "hotlua.test.matrix"
local plugins = require "hotlua.plugin"
local reload = require "hotlua.reload"
local scope = require "hotlua.test.scope"
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local await_ms = 5000 -- when t.await is given no limit

-- Building and loading ----------------------------------------------------------------------------

local function is_shared_object(text)
  if type(text) ~= "string" or text:find "[\n;{]" then return false end
  if text:find "%.so[%.%d]*$" then return true end
  return text:find "/" ~= nil and uv.fs_stat(text) ~= nil and not text:find "%.c$"
end

local function compile(source, flags)
  local ok, result = pcall(build.compile, source, flags)
  if not ok then scope.raise(result) end
  return result
end

local builds, built_count = {}, 0 -- kept shared object -> its copy for tests, and back
local build_directory
local load_count = 0              -- for names that are used once
local stage_to_fail

--- Compiles C with $CC; the same source with the same flags is compiled once.
--- @param source string|table C text, the path of a C file, a list of those, or a table name = text
--- @param flags string|string[]? further words of the command line
--- @return string path of a shared object, there until the run ends
function M.build(source, flags)
  local made = compile(source, flags)
  local path = builds[made]
  if not path then
    if not build_directory then
      build_directory = files.temporary_directory()
      files.remove_at_exit(build_directory)
    end
    built_count = built_count + 1
    path = ("%s/built-%d.so"):format(build_directory, built_count)
    builds[made], builds[path] = path, made
  end
  files.replace(made, path)
  return path
end

-- A file that the test may write over.
local function private_copy(made)
  load_count = load_count + 1
  local path = ("%s/plugin-%d.so"):format(scope.new_directory(), load_count)
  files.replace(made, path)
  return path
end

-- Under the policy `tested` the new version stands in for the plugin's file.
local function candidate_for(path)
  local plugin, candidate = os.getenv "HOTLUA_PLUGIN", os.getenv "HOTLUA_CANDIDATE"
  if not plugin or not candidate then return nil end
  return uv.fs_realpath(path) == uv.fs_realpath(plugin) and private_copy(candidate) or nil
end

--- Loads a plugin that is closed at the end of the test.
--- @param source string C text, or the path of a shared object
--- @param options table? as those of hot.load
--- @return table plugin
function M.load(source, options)
  local path = is_shared_object(source) and candidate_for(source) or source
  if not is_shared_object(source) then
    path = private_copy(compile(source))
  elseif builds[source] and path == source then
    path = private_copy(source)
  end
  reload.fail_at(nil)
  local ok, plugin = pcall(hot.load, path, options)
  reload.fail_at(stage_to_fail)
  if not ok then scope.raise(plugin) end
  scope.own_plugin(plugin)
  return plugin
end

--- Puts another version in the place of the plugin's file and reloads.
--- @param plugin table
--- @param source string C text, or the path of a shared object
--- @return table|nil report
--- @return table? report of a refusal
function M.swap(plugin, source)
  local made = is_shared_object(source) and source or compile(source)
  local owner = plugins.owner_of(plugin)
  reload.fail_at(nil)
  if owner.busy and task.can_wait() then
    task.wait(function() return not owner.busy end, await_ms)
  end
  files.replace(made, plugin:info().path)
  reload.fail_at(stage_to_fail)
  stage_to_fail = nil
  return plugin:reload()
end

--- Makes the next reload fail at that stage; t.load is not counted.
--- @param stage string
function M.fail_at(stage)
  local ok, message = pcall(reload.fail_at, stage)
  if not ok then scope.raise((message:gsub("^[^ ]*:%d+: ", ""))) end
  stage_to_fail = stage
  scope.at_end(function() stage_to_fail = nil end)
end

-- Waiting -----------------------------------------------------------------------------------------

local function run_loop(predicate, limit)
  local is_late = false
  local alarm = core.alarm(limit, function() is_late = true end)
  local tick = uv.new_timer()
  local pause = 1
  local function wake() end
  core.await(1)
  local ok, result = pcall(function()
    repeat
      scope.raise_errors()
      local value = predicate()
      if value then return value end
      tick:start(pause, pause, wake) -- one that is due at once and does not repeat would not end the turn
      pause = math.min(pause + 1, 10)
      core.turn(true)
    until is_late
    scope.raise_errors()
    return predicate()
  end)
  core.await(-1)
  alarm:stop()
  tick:close()
  if not ok then error(result, 0) end
  return result
end

--- Runs the loop until the predicate holds, and returns what it returned. An error in a callback
--- meanwhile, a failed assertion too, is raised here.
--- @param predicate fun(): any
--- @param limit_ms number? 5000
function M.await(predicate, limit_ms)
  local limit = limit_ms or await_ms
  local value
  if task.is_task() then
    task.wait(function()
      scope.raise_errors()
      value = predicate()
      return value
    end, limit)
  elseif core.is_running() then
    scope.raise("t.await: cannot wait inside a callback of the loop: use hot.spawn")
  else
    value = run_loop(predicate, limit)
  end
  if not value then scope.fail(("t.await: it did not come within %g ms"):format(limit)) end
  return value
end

-- Files -------------------------------------------------------------------------------------------

--- Writes a file, making the folders that are missing.
--- @param path string
--- @param bytes string
--- @return string path
function M.write(path, bytes)
  local directory = path:match "^(.+)/[^/]*$"
  if directory then files.make_directory(directory) end
  local ok, message = pcall(files.write, path, bytes)
  if not ok then scope.raise(message) end
  return path
end

--- A new folder, removed with all that is in it at the end of the test.
--- @return string path
function M.tmpdir()
  return scope.new_directory()
end

-- Crashes -----------------------------------------------------------------------------------------

local crashes = {
  SIGSEGV = "int crash(void) { return *(volatile int *)16; }",
  SIGBUS = "#include <signal.h>\nint crash(void) { raise(SIGBUS); return 0; }",
  SIGFPE = "int crash(void) { volatile int zero = 0; return 7 / zero; }",
  SIGILL = "int crash(void) { __builtin_trap(); return 0; }",
  SIGTRAP = "#include <signal.h>\nint crash(void) { raise(SIGTRAP); return 0; }",
  SIGABRT = "#include <stdlib.h>\nint crash(void) { abort(); return 0; }",
  assert = "#include <assert.h>\nint crash(void) { volatile int no = 0; assert(no); return 0; }",
  null = "int crash(void) { int (*volatile f)(void) = 0; return f(); }",
  stack = "int crash(void) { volatile char room[4096]; room[0] = 1; return crash() + room[0]; }",
  hang = "int crash(void) { for (volatile int i = 0;; i++) continue; return 0; }",
  heap = "#include <stdlib.h>\nint crash(void) { char *volatile p = malloc(24); free(p); free(p); return 0; }",
  exit = "#include <stdlib.h>\nint crash(void) { exit(3); return 0; }",
}

local other_names = {
  segv = "SIGSEGV", sigsegv = "SIGSEGV", segfault = "SIGSEGV", bus = "SIGBUS", sigbus = "SIGBUS",
  fpe = "SIGFPE", sigfpe = "SIGFPE", divide = "SIGFPE",
  ill = "SIGILL", sigill = "SIGILL", trap = "SIGTRAP", sigtrap = "SIGTRAP",
  abort = "SIGABRT", abrt = "SIGABRT", sigabrt = "SIGABRT", null_call = "null", overflow = "stack",
  stack_overflow = "stack", ["stack overflow"] = "stack",
  double_free = "heap",
  loop = "hang", timeout = "hang", forever = "hang",
}

--- C source of `int crash(void)`, which crashes in that way.
--- @param kind string SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, assert, heap, null, stack, hang or exit
--- @return string C source
function M.crash(kind)
  local source = crashes[kind] or crashes[other_names[tostring(kind):lower()]]
  if source then return source .. "\n" end
  local known = {}
  for name in pairs(crashes) do known[#known + 1] = name end
  table.sort(known)
  local message = "t.crash: no kind '%s'; there are %s"
  scope.raise(message:format(tostring(kind), table.concat(known, ", ")))
end

-- Matrices and processes --------------------------------------------------------------------------

--- Calls `fn(from, to, i, j)` for every ordered pair of versions.
M.versions = matrix.versions

--- Calls `fn(stage)` for every stage, the next reload set to fail there.
function M.each_stage(fn, stages)
  matrix.each_stage(M, fn, stages)
end

--- Loads v1, changes its state, swaps to v2 and back; fails when state was lost.
function M.roundtrip(v1, v2, options, change)
  return matrix.roundtrip(M, v1, v2, options, change)
end

--- A test (`it`) that runs in a process of its own and may crash there.
M.isolated = isolate.test

if pcall(require, "luassert") then assertions.register(M) end
scope.attach()

return M
