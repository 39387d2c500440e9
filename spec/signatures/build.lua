--- Compilers at work side by side, in a directory of the test's own.
local M = {}

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function start(directory, command)
  return { pipe = assert(io.popen(("cd '%s' && %s 2>&1"):format(directory, command))), command = command }
end

local function finish(job)
  local words = job.pipe:read "a"
  if not job.pipe:close() then error(("%s\n%s"):format(job.command, words:sub(-2000)), 0) end
  return words
end

--- Write `sources` (name = text) and run the commands there, two at a time; raises with the words of one that
--- fails.
function M.run(directory, sources, commands)
  for name, text in pairs(sources) do write(directory .. "/" .. name, text) end
  local before
  for _, command in ipairs(commands) do
    local job = start(directory, command)
    if before then finish(before) end
    before = job
  end
  if before then finish(before) end
end

--- The lines that a program prints.
function M.lines(directory, command)
  local lines = {}
  for line in finish(start(directory, command)):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

return M
