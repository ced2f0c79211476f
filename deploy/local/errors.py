"""
What keeps the system from running on this machine. Every message is for a person and says what to do.

* LocalError
  x ProgramMissing     neither the environment nor the machine has the server
  x StateError         the state directory cannot be used, or another process uses it
  x PortInUse          a port belongs to another program
  x PostgresError      the server cannot be set up or does not start
  x ValkeyError        the server does not start
  x ServiceFailed      a process cannot be brought up or kept up
  x SettingUnreadable  a variable names a file that cannot be read
"""


class LocalError(RuntimeError):
    pass


class ProgramMissing(LocalError):
    pass


class StateError(LocalError):
    pass


class PortInUse(LocalError):
    pass


class PostgresError(LocalError):
    pass


class ValkeyError(LocalError):
    pass


class ServiceFailed(LocalError):
    pass


class SettingUnreadable(LocalError):
    pass
