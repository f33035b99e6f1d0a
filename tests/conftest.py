"""Settings of the whole test run."""

from hypothesis import HealthCheck, settings

# No limits of time: a busy machine is no defect.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")
