--- Files and folders, as tests need them.
local uv = require "luv"

local M = {}

--- The content, nil if it cannot be read.
--- @param path string
--- @return string?
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

--- Makes the folder and those above it.
--- @return boolean is it there
function M.make_directory(path)
  local stat = uv.fs_stat(path)
  if stat then return stat.type == "directory" end
  local parent = path:match "^(.+)/[^/]+/*$"
  if parent and not M.make_directory(parent) then return false end
  return uv.fs_mkdir(path, 493) ~= nil or (uv.fs_stat(path) or {}).type == "directory"
end

--- Writes the file in place; raises when it cannot.
--- @param path string
--- @param bytes string
function M.write(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes))
end

--- Puts a copy of `from` at `to` at once: who looks sees the old file or the new.
function M.replace(from, to)
  local next_path = to .. ".next"
  assert(uv.fs_copyfile(from, next_path))
  assert(uv.fs_chmod(next_path, 493))
  assert(os.rename(next_path, to))
end

--- The names in a folder.
--- @return fun(): string?
function M.entries(path)
  local request = uv.fs_scandir(path)
  return function() return request and (uv.fs_scandir_next(request)) end
end

--- Removes a file, or a folder with all that is in it; links are not followed.
function M.remove(path)
  local stat = uv.fs_lstat(path)
  if not stat then return end
  if stat.type ~= "directory" then return uv.fs_unlink(path) end
  for name in M.entries(path) do M.remove(path .. "/" .. name) end
  uv.fs_rmdir(path)
end

--- A new folder that nobody else can look into.
--- @return string path
function M.temporary_directory()
  local base = (os.getenv "TMPDIR" or "/tmp"):gsub("(.)/+$", "%1")
  return assert(uv.fs_mkdtemp(base .. "/hotlua-test-XXXXXX"))
end

local leftovers = setmetatable({}, { __gc = function(paths)
  for _, path in ipairs(paths) do M.remove(path) end
end })

--- Removes the folder when the program ends.
function M.remove_at_exit(path)
  leftovers[#leftovers + 1] = path
end

return M
