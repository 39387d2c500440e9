--- Tasks: coroutines that may wait. Waiting goes through the watcher thread's alarms, so that a task moves
--- on also under a script that never returns to the loop.
local core = require "hotlua.core"

local M = {}

local tasks = setmetatable({}, { __mode = "k" })   -- coroutine -> what it is for
local programs = setmetatable({}, { __mode = "k" }) -- coroutine -> true: the program waits for its end

--- Prints an error of a handler, timer or task; programs and tests may replace it.
--- @param message any the error, usually a string with a traceback
--- @param what string where it happened
function M.on_error(message, what)
  if core.is_ending() and tostring(message):find("interrupted!", 1, true) then return end -- that is no error
  io.stderr:write("hotlua: ", what, ": ", tostring(message), "\n")
end

core.on_error(function(message, what) M.on_error(message, what) end)

local function resume(co, ...)
  local ok, message = coroutine.resume(co, ...)
  if not ok then
    if type(message) == "string" then message = debug.traceback(co, message) end
    M.on_error(message, "error in " .. (tasks[co] or "a task"))
  end
  if coroutine.status(co) == "dead" then
    tasks[co] = nil
    coroutine.close(co)
  end
end

--- Runs `fn(…)` as a task, at once up to its first wait.
--- @param what string named in the message should it fail
--- @return thread
function M.start(what, fn, ...)
  local co = coroutine.create(fn)
  tasks[co] = what
  resume(co, ...)
  return co
end

--- The same for a task of the program's own: while it waits, the program does not end.
--- @return thread
function M.spawn(what, fn, ...)
  local co = coroutine.create(fn)
  tasks[co], programs[co] = what, true
  resume(co, ...)
  return co
end

--- Is the running coroutine a task, which may wait by yielding?
function M.is_task()
  local co, is_main = coroutine.running()
  return not is_main and tasks[co] ~= nil and coroutine.isyieldable()
end

local function let_go(...)
  core.await(-1)
  return ...
end

--- Waits for something asynchronous: `begin(done)` starts it, `done(…)` gives the results. In a task it
--- yields; in the main chunk it runs the loop meanwhile; inside a callback of the loop neither is possible.
--- @param begin fun(done: fun(...))
function M.await(begin)
  local results
  if M.is_task() then
    local co = coroutine.running()
    local waiting = false
    begin(function(...)
      if waiting then return resume(co, ...) end
      results = table.pack(...)
    end)
    if results then return table.unpack(results, 1, results.n) end
    waiting = true
    if not programs[co] then return coroutine.yield() end
    core.await(1)
    return let_go(coroutine.yield())
  end
  if core.is_running() then
    error("cannot wait inside a callback of the loop: use hot.spawn", 3)
  end
  begin(function(...) results = table.pack(...) end)
  core.await(1)
  local ok, message = pcall(function()
    while not results do core.turn(true) end
  end)
  core.await(-1)
  if not ok then error(message, 0) end
  return table.unpack(results, 1, results.n)
end

--- Can M.await wait here?
function M.can_wait()
  return M.is_task() or not core.is_running()
end

--- Waits `ms` milliseconds.
function M.sleep(ms)
  if type(ms) ~= "number" or ms ~= ms then
    error(("bad argument #1 to 'sleep' (milliseconds expected, got %s)"):format(tostring(ms)), 2)
  end
  local alarm
  M.await(function(done) alarm = core.alarm(ms, done) end)
  alarm:stop()
end

--- Waits until `predicate()` holds, looking again every few milliseconds; false when `limit_ms`
--- passed first.
--- @param predicate fun(): any
--- @param limit_ms number?
--- @return boolean
function M.wait(predicate, limit_ms)
  local limit = limit_ms and core.now() + limit_ms * 1000000
  local pause = 0.2
  while not predicate() do
    if limit and core.now() >= limit then return false end
    M.sleep(pause)
    pause = math.min(pause * 1.5, 20)
  end
  return true
end

return M
