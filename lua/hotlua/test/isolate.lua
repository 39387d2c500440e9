--- hotlua test --isolate: each spec file in a process of its own. What the process tells becomes,
--- in order, part of this run, as if the tests had run here; so every output handler works.
local process = require "hotlua.test.process"
local scope = require "hotlua.test.scope"

local M = {}

--- How this run was started: { isolate, jobs, limit, isolated } and busted's arguments.
M.settings, M.arguments = {}, {}

local default_limit = 300 -- seconds without a sign of life

-- The tree of a run -------------------------------------------------------------------------------

-- Builds the tree of what a process tells: nodes { kind, name, trace, children, status, duration }.
local function new_tree()
  local root = { kind = "file", children = {} }
  local tree = { root = root, stack = { root } }

  local function push(node)
    local parent = tree.stack[#tree.stack]
    table.insert(parent.children, node)
    tree.stack[#tree.stack + 1] = node
  end

  function tree.take(event)
    local kind = event.event
    if kind == "describe_start" then
      push { kind = "describe", name = event.name, trace = event.trace, children = {} }
    elseif kind == "test_start" then
      tree.last = event.name
      local is_pending = event.kind == "pending"
      push {
        kind = is_pending and "pending" or "it", name = event.name, trace = event.trace,
        children = {},
      }
    elseif kind == "test_end" then
      local node = table.remove(tree.stack)
      node.status, node.duration = event.status, event.duration
    elseif kind == "describe_end" then
      table.remove(tree.stack)
    elseif kind == "problem" then
      table.insert(tree.stack[#tree.stack].children, { kind = "problem", event = event })
    end
  end

  -- The test that was running, with its full name.
  function tree.running()
    local names, node = {}, tree.stack[#tree.stack]
    if node.kind ~= "it" then return nil end
    for i = 2, #tree.stack do names[#names + 1] = tree.stack[i].name end
    return node, table.concat(names, " ")
  end
  return tree
end

-- Puts the end of a process that did not come through where it belongs.
local function note_problem(tree, file, problem)
  local node, name = tree.running()
  local where = node and ("in '%s'"):format(name) or
    tree.last and ("after '%s'"):format(tree.last) or "before the first test"
  local message = ("%s: the process %s %s"):format(file, problem, where)
  local event = {
    status = "error", descriptor = node and "it" or "file", name = file, message = message,
  }
  if node then node.status = "error" end
  table.insert((node or tree.root).children, { kind = "problem", event = event })
end

-- Processes ---------------------------------------------------------------------------------------

local function child_arguments(file, more)
  local arguments = { "--silent", "--only=" .. file }
  for _, word in ipairs(more or {}) do arguments[#arguments + 1] = word end
  for _, word in ipairs(M.arguments) do arguments[#arguments + 1] = word end
  return arguments
end

local function start_run(file, on_end)
  local run = { file = file, tree = new_tree(), output = {}, inputs = {} }
  run.process = process.start {
    arguments = child_arguments(file), limit = M.settings.limit or default_limit,
    on_output = function(piece) run.output[#run.output + 1] = piece end,
    on_event = function(event)
      if event.event == "input" then table.insert(run.inputs, event) else run.tree.take(event) end
    end,
    on_end = function(ended)
      local problem = ended:problem()
      if problem then note_problem(run.tree, file, problem) end
      run.is_done = true
      on_end()
    end,
  }
  return run
end

-- Runs files ahead, in order, so many at a time.
local function new_pool(files)
  local pool = { runs = {}, next = 1, busy = 0 }

  function pool.fill()
    while pool.busy < (M.settings.jobs or 1) and pool.next <= #files and not pool.is_closed do
      local i = pool.next
      pool.next, pool.busy = i + 1, pool.busy + 1
      pool.runs[i] = start_run(files[i], function()
        pool.busy = pool.busy - 1
        pool.fill()
      end)
    end
  end

  function pool.take(i)
    if not pool.runs[i] and pool.next > i then        -- once more: --repeat
      pool.runs[i] = start_run(files[i], function() end)
    end
    while not pool.runs[i] do
      pool.fill()
      if not pool.runs[i] then pool.runs[i - 1].process:wait() end
    end
    local run = pool.runs[i]
    run.process:wait()
    pool.runs[i] = nil
    return run
  end

  function pool.close()
    pool.is_closed = true
    for _, run in pairs(pool.runs) do
      run.process:kill()
      run.process:wait()
    end
  end
  return pool
end

-- Telling busted ----------------------------------------------------------------------------------

local function publish_problem(busted, event, element)
  local parent = element and busted.context.parent(element) or busted.context.get()
  element = element or { descriptor = event.descriptor, name = event.name, attributes = {} }
  local trace = event.trace or element.trace
  busted.publish({ event.status, event.descriptor }, element, parent, event.message, trace)
end

-- Registers a describe or a test. Returns busted's element, nil if a filter leaves it out.
local function add_element(busted, kind, name, fn)
  local context = busted.context.get()
  local count = #busted.context.children(context)
  busted.executors[kind](name, fn)
  return busted.context.children(context)[count + 1]
end

local function register(busted, node)
  for _, child in ipairs(node.children) do
    if child.kind == "problem" then
      publish_problem(busted, child.event)
    else
      local element = add_element(busted, child.kind, child.name, function()
        if child.kind == "describe" then register(busted, child) end
      end)
      if element then element.replay, element.trace = child, child.trace or element.trace end
    end
  end
end

-- A test that ran elsewhere has its problems, status and duration from there.
local function replay_tests(busted)
  local safe = busted.safe
  function busted.safe(descriptor, run, element)
    local node = element.replay
    if descriptor ~= "it" or not node or run ~= element.run then
      return safe(descriptor, run, element)
    end
    for _, child in ipairs(node.children) do
      if child.kind == "problem" then
        local is_own = child.event.descriptor == "it"
        publish_problem(busted, child.event, is_own and element or nil)
      end
    end
    return busted.status(node.status or "error")
  end
  busted.subscribe({ "test", "end" }, function(element)
    if element.replay then element.duration = element.replay.duration or element.duration end
    return nil, true
  end, { priority = 1 })
end

--- Registers the files with busted; each runs in a process of its own.
--- @param busted table busted's own state
--- @param files string[]
--- @param send fun(event: table)? passes on what the files have opened
function M.register(busted, files, send)
  replay_tests(busted)
  local pool = new_pool(files)
  for i, file in ipairs(files) do
    local function replay()
      local run = pool.take(i)
      io.write(table.concat(run.output))
      for _, event in ipairs(send and run.inputs or {}) do send(event) end
      register(busted, run.tree.root)
    end
    busted.executors.file(file, setmetatable({
      getTrace = function(_, trace) return trace end,
      rewriteMessage = function(_, message) return message end,
    }, { __call = replay }))
  end
  busted.subscribe({ "suite", "end" }, function()
    pool.close()
    return nil, true
  end)
end

-- Single tests ------------------------------------------------------------------------------------

local counts = {} -- file -> how many isolated tests were registered

local function file_of(busted)
  local element = busted.context.get()
  while element and element.descriptor ~= "file" do element = busted.context.parent(element) end
  return element and element.name
end

local function expect_end(expected, ended)
  if type(expected) == "string" then expected = { signal = expected } end
  local problem = ended:problem()
  if expected and expected.signal then
    if ended:signal_name() == expected.signal then return nil end
    return ("expected the test to be killed by %s: it %s"):format(
      expected.signal, problem or "came through")
  elseif expected and expected.status then
    local has_exited = ended.signal == 0 and not ended.is_whole
    if has_exited and ended.code == expected.status then return nil end
    return ("expected the test to exit with status %d: it %s"):format(
      expected.status, problem or "came through")
  end
  return problem and "the test " .. problem
end

local function run_apart(file, number, expected, place)
  local problems, output = {}, {}
  local apart = process.start {
    arguments = child_arguments(file, { "--isolated=" .. number }),
    limit = M.settings.limit or default_limit,
    on_output = function(piece) output[#output + 1] = piece end,
    on_event = function(event)
      if event.event == "problem" then problems[#problems + 1] = event end
    end,
    on_end = function() end,
  }
  apart:wait()
  local wrong = expect_end(expected, apart)
  if problems[1] then
    scope.attach().fail(problems[1].message, 0)
  elseif wrong then
    scope.attach().fail(("%s: %s\n%s"):format(place, wrong, table.concat(output)), 0)
  end
end

--- A test that runs in a process of its own.
--- @param name string
--- @param fn function
--- @param expected table|string? { signal = "SIGSEGV" } or { status = 3 }: how it must end
function M.test(name, fn, expected)
  local busted = scope.attach()
  local file = busted and file_of(busted)
  if not file then error("t.isolated: only in a spec file run by busted", 2) end
  counts[file] = (counts[file] or 0) + 1
  local number = counts[file]
  local only = M.settings.isolated
  if only and only ~= number then return end
  local place = debug.getinfo(2, "Sl")
  local line = ("%s:%d"):format(place.short_src, place.currentline)
  local element = add_element(busted, "it", name, only and fn or function()
    run_apart(file, number, expected, line)
  end)
  if not element then return end
  element.is_isolated = true
  element.trace.short_src, element.trace.currentline = place.short_src, place.currentline
end

--- Counts from the start again: a file is being loaded.
function M.begin_file(name)
  counts[name] = nil
end

return M
