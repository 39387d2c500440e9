--- Workers: threads with a Lua state and a loop of their own. Values go between them as copies.
local core = require "hotlua.core"
local plugin = require "hotlua.plugin"
local task = require "hotlua.task"

local M = {}

local close_ms = 2000 -- at the end of the program a worker gets so long to stop

-- Handlers of one side ----------------------------------------------------------------------------

local Subscription = { __name = "hotlua.subscription" }
Subscription.__index = Subscription

--- Ends the subscription; a second call does nothing.
function Subscription:off()
  for i, other in ipairs(self.list) do
    if other == self then return table.remove(self.list, i) end
  end
end

local function add_handler(lists, event, fn)
  local list = lists[event]
  if not list then
    local known = {}
    for name in pairs(lists) do known[#known + 1] = name end
    table.sort(known)
    error(("bad argument #1 to 'on' (no event '%s'; there are %s)"):format(
      tostring(event), table.concat(known, ", ")), 3)
  end
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'on' (function expected, got %s)"):format(type(fn)), 3)
  end
  local subscription = setmetatable({ list = list, call = fn }, Subscription)
  list[#list + 1] = subscription
  return subscription
end

local function with_traceback(message)
  return type(message) == "string" and debug.traceback(message, 2) or message
end

local running = 0 -- handlers that have not returned
local on_returned -- called whenever one has

-- Handlers may wait: each runs as a task.
local function fire(list, what, ...)
  for _, subscription in ipairs { table.unpack(list) } do
    running = running + 1
    task.start(what, function(...)
      local ok, message = xpcall(subscription.call, with_traceback, ...)
      if not ok then task.on_error(message, "error in " .. what) end
      running = running - 1
      if on_returned then on_returned() end
    end, ...)
  end
end

-- In the next turn of the loop: who adds a handler may add another first.
local function soon(fn)
  task.start("a worker's messages", function()
    task.sleep(0)
    fn()
  end)
end

-- The starter's side ------------------------------------------------------------------------------

local Worker = { __name = "hotlua.worker" }
Worker.__index = Worker

local open, count = {}, 0 -- workers that have not ended; how many were started

-- A worker keeps the program going while it has something to do, not while it only waits for messages.
local function set_busy(worker, is_busy)
  if worker.is_busy == is_busy then return end
  worker.is_busy = is_busy
  core.await(is_busy and 1 or -1)
end

local function flush(worker)
  while worker.held[1] and #worker.handlers.message > 0 do
    local message = table.remove(worker.held, 1)
    fire(worker.handlers.message, "a 'message' handler", table.unpack(message, 1, message.n))
  end
end

local on_event = {}

function on_event.message(worker, ...)
  worker.held[#worker.held + 1] = table.pack(...) -- until there is a handler
  flush(worker)
end

function on_event.idle(worker, taken)
  if taken == worker.sent then set_busy(worker, false) end
end

function on_event.ended(worker, ok, ...)
  worker.ended, worker.ok = true, ok
  worker.results = table.pack(...)
  open[worker] = nil
  set_busy(worker, false)
  if not ok then
    fire(worker.handlers.error, "an 'error' handler", (...))
    if #worker.waiters == 0 and #worker.handlers.error == 0 then
      task.on_error((...), "error in " .. worker.name)
    end
  end
  for _, done in ipairs(worker.waiters) do done() end
end

--- Sends a message: nil, booleans, numbers, strings, pointers and tables of them, copied.
--- @return boolean false when the worker has ended
function Worker:send(...)
  if self.ended or self.is_joined then return false end
  if not self.handle:send(...) then return false end
  self.sent = self.sent + 1
  set_busy(self, true)
  return true
end

--- Adds a handler, run as a task: `message` with what the worker sent, `error` with the message of the error
--- that ended it.
--- @return table subscription with `:off()`
function Worker:on(event, fn)
  local subscription = add_handler(self.handlers, event, fn)
  if self.held[1] then soon(function() flush(self) end) end
  return subscription
end

--- Sends nothing more and waits until the worker has ended: its function has returned, what was sent is
--- handled, and its loop has nothing left to wait for.
--- @return any ... what its function returned; or nil and the error that ended it
function Worker:join()
  if not self.ended then
    self.is_joined = true
    set_busy(self, true)
    self.handle:finish()
    task.await(function(done) self.waiters[#self.waiters + 1] = done end)
  end
  if self.ok then return table.unpack(self.results, 1, self.results.n) end
  return nil, self.results[1]
end

function Worker:__tostring()
  return ("worker: %s (%s)"):format(self.name, self.ended and "ended" or "running")
end

local function check_upvalues(fn)
  local i, name = 1, debug.getupvalue(fn, 1)
  while name do
    if name ~= "_ENV" then
      error(("hot.worker: the function uses the local variable '%s' of its surroundings, which is not " ..
        "there in another Lua state: pass it as an argument"):format(name == "" and "?" or name), 4)
    end
    i = i + 1
    name = debug.getupvalue(fn, i)
  end
  if debug.getinfo(fn, "S").what == "C" then
    error("hot.worker: a C function cannot run in another Lua state: wrap it in a Lua function", 4)
  end
end

local function describe(what)
  if type(what) == "string" then return "file", what end
  if type(what) ~= "function" then
    error(("bad argument #1 to 'worker' (path or function expected, got %s)"):format(type(what)), 3)
  end
  check_upvalues(what)
  return "function", string.dump(what)
end

--- Starts a thread that runs a Lua script or function in a Lua state of its own, with the same plugins
--- (hot.get).
--- @param what string|function path of a script, or a function without upvalues
--- @param ... any its arguments, copied
--- @return table worker
function M.new(what, ...)
  local kind, code = describe(what)
  count = count + 1
  local worker = setmetatable({
    name = ("worker %d"):format(count), handlers = { message = {}, error = {} },
    held = {}, waiters = {}, sent = 0,
  }, Worker)
  worker.handle = core.worker_start(worker.name, function(event, ...)
    on_event[event](worker, ...)
  end, kind, code, package.path, package.cpath, ...)
  open[worker] = true
  set_busy(worker, true)
  return worker
end

-- Before the plugins go: whoever still runs is interrupted.
local function close_all()
  for worker in pairs(open) do
    worker.handle:finish()
    if worker.is_busy then worker.handle:interrupt() end
  end
  for worker in pairs(open) do
    if not worker.handle:wait(close_ms) then
      io.stderr:write(("hotlua: %s does not stop: it is inside a native call\n"):format(worker.name))
    end
    open[worker] = nil
  end
end

core.on_close(function()
  close_all()
  plugin.close_all()
end)

-- The worker's side -------------------------------------------------------------------------------

local Parent = { __name = "hotlua.parent" }
Parent.__index = Parent

local inside -- the worker's own state; nil where this is no worker

--- Sends a message to the state that started this worker.
--- @return boolean false when nobody is there any more
function Parent:send(...)
  return core.worker_report("message", ...)
end

-- No more messages will come, and those that came are handled: hot.run() returns.
local function end_run()
  if inside.is_finished and inside.run_depth > 0 and running == 0 then core.stop() end
end

-- Hands out what has come, when there is a handler for it.
local function take_letters()
  while inside.handlers.message[1] do
    local message = table.pack(core.worker_take())
    if not message[1] then
      inside.is_finished = not message[2]
      break
    end
    inside.taken = inside.taken + 1
    fire(inside.handlers.message, "a 'message' handler", table.unpack(message, 2, message.n))
  end
  end_run()
end

--- Adds a handler of `message`, run as a task. While there is one the worker waits for messages, until the
--- other side calls join() or ends.
--- @return table subscription with `:off()`
function Parent:on(event, fn)
  local subscription = add_handler(inside.handlers, event, fn)
  soon(take_letters)
  return subscription
end

function Parent:__tostring()
  return "parent of " .. core.worker_name()
end

if core.worker_name() then
  inside = { handlers = { message = {} }, taken = 0, run_depth = 0 }
  --- hot.parent: the other side of a worker.
  M.parent = setmetatable({}, Parent)
  core.worker_listen(take_letters)
  on_returned = end_run
end

--- hot.run(): in a worker it also returns when no more messages will come and the handlers have returned.
function M.run_loop()
  if inside then
    inside.run_depth = inside.run_depth + 1
    take_letters()
  end
  if not (inside and inside.is_finished and running == 0) then
    core.await(1)
    core.run()
    core.await(-1)
  end
  if inside then inside.run_depth = inside.run_depth - 1 end
end

-- Runs the loop until nothing is left, messages included.
local function serve()
  repeat
    if core.run() then return end -- hot.stop()
    take_letters()
    if not inside.handlers.message[1] or inside.is_finished then return end
    core.worker_report("idle", inside.taken)
    core.await(1)
    core.turn(true)
    core.await(-1)
  until false
end

local function load_code(kind, code, ...)
  if kind == "function" then return assert(load(code, "=worker", "b")) end
  rawset(_G, "arg", { [0] = code, ... })
  return assert(loadfile(code))
end

-- An error as the other side gets it: a table as a copy, if it can be one; what shows itself as text as that.
local function portable(problem)
  local meta = getmetatable(problem)
  local is_text = type(meta) == "table" and meta.__tostring ~= nil
  if type(problem) ~= "table" or is_text or not core.can_be_sent(problem) then return tostring(problem) end
  return problem
end

--- Called by worker.c in the new thread; what it returns goes to the other side.
function M.run(kind, code, path, cpath, ...)
  package.path, package.cpath = path, cpath
  require "hotlua"
  local results = table.pack(xpcall(function(...)
    local values = table.pack(load_code(kind, code, ...)(...))
    serve()
    return table.unpack(values, 1, values.n)
  end, with_traceback, ...))
  if not results[1] then return "ended", false, portable(results[2]) end
  return "ended", table.unpack(results, 1, results.n)
end

return M
