-- Runs examples and watches what they print.
local t = require "hotlua.test"
local uv = require "luv"

local M = {}

local program = assert(uv.exepath())

function M.read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

--- A copy of an example that may be edited.
function M.copy(name)
  local directory = t.tmpdir()
  assert(os.execute(("cp -r examples/%s/. '%s'"):format(name, directory)))
  return directory
end

--- Starts a program; returns what it has written so far as a function, and its end as another.
function M.start(arguments, directory)
  local output, status = {}, nil
  local pipe = uv.new_pipe(false)
  local process, message
  local command = ("exec '%s' %s 2>&1"):format(program, arguments)
  process, message = uv.spawn("/bin/sh", { args = { "-c", command }, cwd = directory, stdio = { nil, pipe } },
    function(code)
      status = code
      process:close()
    end)
  assert(process, message)
  pipe:read_start(function(_, data)
    if data then output[#output + 1] = data else pipe:close() end
  end)
  return function() return table.concat(output) end, function() return status end, process
end

--- Replaces text in a file, as an editor does; there has to be such text.
function M.edit(path, from, to)
  local text, count = M.read(path):gsub(from, to)
  assert(count > 0, from)
  t.write(path, text)
end

return M
