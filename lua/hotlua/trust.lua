--- Whom a file is loaded from: ownership and permissions of the path, digest and signature of
--- the private copy.
local core = require "hotlua.core"

local M = {}

--- Refuses a path that others could have written to, when that matters.
--- @param fail fun(stage: string, message: string)
function M.check_path(owner, fail)
  local verify = owner.options.verify
  if not verify then return end
  local problem = core.untrusted_path(owner.path)
  if problem then fail("copy", problem) end
end

--- Checks what was copied, before anything of it is mapped.
function M.check_content(owner, handle, fail)
  local verify = owner.options.verify
  if not verify then return end
  if verify.sha256 then
    local found = core.sha256(handle)
    if found ~= verify.sha256:lower() then
      fail("verify", ("%s: its SHA-256 is %s, `verify` asks for %s"):format(owner.path, found, verify.sha256))
    end
  end
end

return M
